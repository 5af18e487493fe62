// librdkafka's own pace: drain a topic through its C interface, and only count.
//
//     drain TOPIC RECORDS OPTION=VALUE...
//
// Says a line when it is connected, reads when it gets one, and then tells what it took as JSON.

#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCH = 10000, WAIT_MS = 1000, TIMEOUT_MS = 10000, STALLED = 60 };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "drain: %s: %s\n", what, why);
    exit(1);
}

static double wall(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static rd_kafka_t *consumer(int count, char **settings) {
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (int i = 0; i < count; i++) {
        char *value = strchr(settings[i], '=');
        if (!value)
            fail(settings[i], "is no OPTION=VALUE");
        *value = '\0';
        if (rd_kafka_conf_set(conf, settings[i], value + 1, why, sizeof why) != RD_KAFKA_CONF_OK)
            fail(settings[i], why);
    }
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!rk)
        fail("no consumer", why);
    return rk;
}

static rd_kafka_topic_partition_list_t *partitions(rd_kafka_t *rk, const char *topic) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, handle, &metadata, TIMEOUT_MS);
    if (!error)
        error = metadata->topics[0].err;
    if (error)
        fail(topic, rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(metadata->topics[0].partition_cnt);
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    return list;
}

int main(int argc, char **argv) {
    if (argc < 3)
        fail("usage", "drain TOPIC RECORDS OPTION=VALUE...");
    const int64_t wanted = strtoll(argv[2], NULL, 10);
    rd_kafka_t *rk = consumer(argc - 3, argv + 3);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_topic_partition_list_t *all = partitions(rk, argv[1]);
    static rd_kafka_message_t *messages[BATCH];
    int64_t records = 0, bytes = 0, checksum = 0;

    puts("connected");
    fflush(stdout);
    if (getchar() == EOF)
        fail("stopped", "nobody waits for this measurement");
    const double began = wall(), cpu_began = cpu();
    rd_kafka_resp_err_t refused = rd_kafka_assign(rk, all);
    if (refused)
        fail("assign", rd_kafka_err2str(refused));
    for (int waited = 0; records < wanted && waited < STALLED; waited++) {
        const ssize_t count = rd_kafka_consume_batch_queue(queue, WAIT_MS, messages, BATCH);
        for (ssize_t i = 0; i < count; i++) {
            const rd_kafka_message_t *message = messages[i];
            if (message->err)
                fail("consume", rd_kafka_message_errstr(message));
            records++;
            bytes += message->len;
            checksum += (int64_t)(message->partition + 1) * (message->offset + 1) * (int64_t)message->len;
            rd_kafka_message_destroy(messages[i]);
            waited = 0;
        }
    }
    const double seconds = wall() - began, cpu_seconds = cpu() - cpu_began;

    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    printf("{\"content\":{\"records\":%lld,\"value_bytes\":%lld,\"checksum\":%lld},"
           "\"seconds\":%.9f,\"cpu_seconds\":%.9f}\n",
           (long long)records, (long long)bytes, (long long)checksum, seconds, cpu_seconds);
    return 0;
}
