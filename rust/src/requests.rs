//! Requests to brokers as bytes, by the generated crate `kafka-protocol`.

use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest, DescribeGroupsRequest, FetchRequest,
    FindCoordinatorRequest, GroupId, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

const CONSUMER: i32 = -1;
/// Of a fetch, or a commit, of somebody who has no session and is in no group.
const NONE: i32 = -1;

/// What stands before every request: its version, its number, and who asks.
type Head = (i16, i32, String);

fn framed<R: Encodable + HeaderVersion>(
    key: ApiKey,
    (version, correlation_id, client_id): Head,
    body: &R,
) -> PyResult<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(text(client_id)));
    let mut frame = BytesMut::new();
    header
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| body.encode(&mut frame, version))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(frame.into())
}

fn text(from: String) -> StrBytes {
    StrBytes::from_string(from)
}

fn topic_name(from: String) -> TopicName {
    TopicName(text(from))
}

fn group(from: String) -> GroupId {
    GroupId(text(from))
}

/// Ask which requests a broker takes, in which versions.
#[pyfunction]
pub fn api_versions_request(head: Head) -> PyResult<Vec<u8>> {
    framed(ApiKey::ApiVersions, head, &ApiVersionsRequest::default())
}

/// Ask about the brokers and some topics, or all; none is created by it.
#[pyfunction]
pub fn metadata_request(head: Head, topics: Option<Vec<String>>) -> PyResult<Vec<u8>> {
    let named = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let body = MetadataRequest::default()
        .with_topics(topics.map(|names| names.into_iter().map(named).collect()))
        .with_allow_auto_topic_creation(false);
    framed(ApiKey::Metadata, head, &body)
}

/// Ask for the offsets of times in partitions of one topic.
#[pyfunction]
pub fn list_offsets_request(
    head: Head,
    topic: String,
    times: Vec<(i32, i64)>,
    read_committed: bool,
) -> PyResult<Vec<u8>> {
    let partition = |(partition, timestamp)| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(NONE)
            .with_timestamp(timestamp)
    };
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(times.into_iter().map(partition).collect());
    let body = ListOffsetsRequest::default()
        .with_replica_id(CONSUMER.into())
        .with_isolation_level(read_committed.into())
        .with_topics(vec![topic]);
    framed(ApiKey::ListOffsets, head, &body)
}

/// Ask for the broker that coordinates a group; a cluster without groups creates the topic of commits for it.
#[pyfunction]
pub fn find_coordinator_request(head: Head, group_id: String) -> PyResult<Vec<u8>> {
    framed(
        ApiKey::FindCoordinator,
        head,
        &FindCoordinatorRequest::default().with_key(text(group_id)),
    )
}

/// Ask for what a group has committed in some partitions, or in all where it has.
#[pyfunction]
pub fn offset_fetch_request(
    head: Head,
    group_id: String,
    places: Option<Vec<(String, Vec<i32>)>>,
) -> PyResult<Vec<u8>> {
    let topic = |(name, partitions)| {
        OffsetFetchRequestTopic::default()
            .with_name(topic_name(name))
            .with_partition_indexes(partitions)
    };
    let body = OffsetFetchRequest::default()
        .with_group_id(group(group_id))
        .with_topics(places.map(|places| places.into_iter().map(topic).collect()));
    framed(ApiKey::OffsetFetch, head, &body)
}

/// Set what a group without members has committed.
#[pyfunction]
pub fn offset_commit_request(
    head: Head,
    group_id: String,
    offsets: Vec<(String, Vec<(i32, i64)>)>,
) -> PyResult<Vec<u8>> {
    let partition = |(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::new()))
    };
    let topic = |(name, partitions): (String, Vec<_>)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    let body = OffsetCommitRequest::default()
        .with_group_id(group(group_id))
        .with_generation_id_or_member_epoch(NONE)
        .with_topics(offsets.into_iter().map(topic).collect());
    framed(ApiKey::OffsetCommit, head, &body)
}

/// Ask a broker which groups it coordinates.
#[pyfunction]
pub fn list_groups_request(head: Head) -> PyResult<Vec<u8>> {
    framed(ApiKey::ListGroups, head, &ListGroupsRequest::default())
}

/// Ask for a group's state and members.
#[pyfunction]
pub fn describe_groups_request(head: Head, group_id: String) -> PyResult<Vec<u8>> {
    framed(
        ApiKey::DescribeGroups,
        head,
        &DescribeGroupsRequest::default().with_groups(vec![group(group_id)]),
    )
}

/// Ask for the state and members of a group of the protocol of KIP-848.
#[pyfunction]
pub fn consumer_group_describe_request(head: Head, group_id: String) -> PyResult<Vec<u8>> {
    framed(
        ApiKey::ConsumerGroupDescribe,
        head,
        &ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(group_id)]),
    )
}

/// Ask for records of one topic, as a consumer without a session: partition, offset and most bytes of each.
#[pyfunction]
#[pyo3(signature = (head, topic, partitions, *, read_committed, max_wait_ms, max_bytes))]
pub fn fetch_request(
    head: Head,
    topic: String,
    partitions: Vec<(i32, i64, i32)>,
    read_committed: bool,
    max_wait_ms: i32,
    max_bytes: i32,
) -> PyResult<Vec<u8>> {
    let partition = |(partition, offset, max_bytes)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(NONE)
            .with_fetch_offset(offset)
            .with_log_start_offset(NONE.into())
            .with_partition_max_bytes(max_bytes)
    };
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(partitions.into_iter().map(partition).collect());
    let body = FetchRequest::default()
        .with_replica_id(CONSUMER.into())
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_isolation_level(read_committed.into())
        .with_session_id(0)
        .with_session_epoch(NONE)
        .with_topics(vec![topic]);
    framed(ApiKey::Fetch, head, &body)
}

#[cfg(test)]
mod tests;
