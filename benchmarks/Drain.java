import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteBufferDeserializer;

/**
 * Java's own pace: drain a topic again and again in one virtual machine, and only count.
 *
 * <p>{@code java -cp 'jars/*' Drain.java BOOTSTRAP TOPIC RECORDS PASSES}. Says a line when all passes but the last are
 * done, and the consumer of the last is connected; reads when it gets one; then tells what that took as JSON.
 */
final class Drain implements AutoCloseable {
    private static final Duration WAIT = Duration.ofSeconds(1);
    private static final int STALLED = 60;

    private final KafkaConsumer<ByteBuffer, ByteBuffer> consumer;
    private final List<TopicPartition> partitions;
    private long records;
    private long bytes;
    private long checksum;

    private Drain(String bootstrapServers, String topic) {
        // Byte buffers: its deserializer of arrays would copy every value.
        Map<String, Object> options = Map.of(
                "bootstrap.servers", bootstrapServers,
                "allow.auto.create.topics", false,
                "enable.auto.commit", false,
                "auto.offset.reset", "none",
                "check.crcs", false,
                "max.partition.fetch.bytes", 16 << 20,
                "fetch.max.bytes", 256 << 20,
                "max.poll.records", 100_000,
                "key.deserializer", ByteBufferDeserializer.class,
                "value.deserializer", ByteBufferDeserializer.class);
        consumer = new KafkaConsumer<>(options);
        partitions = consumer.partitionsFor(topic).stream()
                .map(found -> new TopicPartition(topic, found.partition()))
                .toList();
    }

    private void read(long wanted) {
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        for (int waited = 0; records < wanted && waited < STALLED; waited++) {
            for (ConsumerRecord<ByteBuffer, ByteBuffer> record : consumer.poll(WAIT)) {
                records++;
                bytes += record.serializedValueSize();
                checksum += (record.partition() + 1) * (record.offset() + 1) * record.serializedValueSize();
                waited = 0;
            }
        }
    }

    @Override
    public void close() {
        consumer.close();
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrapServers = arguments[0];
        String topic = arguments[1];
        long wanted = Long.parseLong(arguments[2]);
        for (int pass = 1; pass < Integer.parseInt(arguments[3]); pass++) {
            try (Drain drain = new Drain(bootstrapServers, topic)) {
                drain.read(wanted);
            }
        }
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        try (Drain drain = new Drain(bootstrapServers, topic)) {
            System.out.println("connected");
            if (System.in.read() < 0) {
                throw new IllegalStateException("nobody waits for this measurement");
            }
            long began = System.nanoTime();
            long cpuBegan = system.getProcessCpuTime();
            drain.read(wanted);
            double seconds = (System.nanoTime() - began) / 1e9;
            double cpuSeconds = (system.getProcessCpuTime() - cpuBegan) / 1e9;
            System.out.printf(
                    Locale.ROOT,
                    "{\"content\":{\"records\":%d,\"value_bytes\":%d,\"checksum\":%d},\"seconds\":%.9f,\"cpu_seconds\":%.9f}%n",
                    drain.records, drain.bytes, drain.checksum, seconds, cpuSeconds);
        }
    }
}
