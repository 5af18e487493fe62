//! Requests are what the generated crate reads back, in every version that is sent.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

use super::*;

fn head(version: i16) -> Head {
    (version, 7, "kafkalab".to_owned())
}

fn read<R: Decodable + HeaderVersion>(frame: PyResult<Vec<u8>>, key: ApiKey, version: i16) -> R {
    let mut frame = Bytes::from(frame.unwrap());
    let header = RequestHeader::decode(&mut frame, R::header_version(version)).unwrap();
    assert_eq!(header.request_api_key, key as i16);
    assert_eq!(header.request_api_version, version);
    assert_eq!(header.correlation_id, 7);
    assert_eq!(
        header.client_id,
        Some(StrBytes::from_static_str("kafkalab"))
    );
    let body = R::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty());
    body
}

#[test]
fn no_topic_is_created_by_a_look() {
    for version in 4..=12 {
        let names = Some(vec!["orders".to_owned()]);
        let body: MetadataRequest = read(
            metadata_request(head(version), names),
            ApiKey::Metadata,
            version,
        );
        assert!(!body.allow_auto_topic_creation);
        assert_eq!(body.topics.unwrap().len(), 1);
        let all: MetadataRequest = read(
            metadata_request(head(version), None),
            ApiKey::Metadata,
            version,
        );
        assert_eq!(all.topics, None);
    }
}

#[test]
fn offsets_are_asked_for_as_a_consumer() {
    for version in 2..=7 {
        let frame = list_offsets_request(head(version), "orders".into(), vec![(3, -1)], true);
        let body: ListOffsetsRequest = read(frame, ApiKey::ListOffsets, version);
        assert_eq!((body.replica_id.0, body.isolation_level), (-1, 1));
        let part = &body.topics[0].partitions[0];
        assert_eq!(
            (
                part.partition_index,
                part.timestamp,
                part.current_leader_epoch
            ),
            (3, -1, -1)
        );
    }
}

#[test]
fn groups_are_asked_for() {
    for version in 0..=3 {
        let frame = find_coordinator_request(head(version), "billing".into());
        let body: FindCoordinatorRequest = read(frame, ApiKey::FindCoordinator, version);
        assert_eq!((&*body.key, body.key_type), ("billing", 0));
    }
    for version in 0..=4 {
        let _: ListGroupsRequest = read(
            list_groups_request(head(version)),
            ApiKey::ListGroups,
            version,
        );
    }
    for version in 0..=5 {
        let frame = describe_groups_request(head(version), "billing".into());
        let body: DescribeGroupsRequest = read(frame, ApiKey::DescribeGroups, version);
        assert_eq!(body.groups.len(), 1);
    }
    let frame = consumer_group_describe_request(head(0), "billing".into());
    let body: ConsumerGroupDescribeRequest = read(frame, ApiKey::ConsumerGroupDescribe, 0);
    assert_eq!(body.group_ids.len(), 1);
}

#[test]
fn commits_are_asked_for_and_made() {
    for version in 2..=7 {
        let places = Some(vec![("orders".to_owned(), vec![0, 1])]);
        let frame = offset_fetch_request(head(version), "billing".into(), places);
        let body: OffsetFetchRequest = read(frame, ApiKey::OffsetFetch, version);
        assert_eq!(body.topics.unwrap()[0].partition_indexes, [0, 1]);
        let frame = offset_fetch_request(head(version), "billing".into(), None);
        let all: OffsetFetchRequest = read(frame, ApiKey::OffsetFetch, version);
        assert_eq!(all.topics, None);
    }
    for version in 2..=8 {
        let offsets = vec![("orders".to_owned(), vec![(1, 42)])];
        let frame = offset_commit_request(head(version), "billing".into(), offsets);
        let body: OffsetCommitRequest = read(frame, ApiKey::OffsetCommit, version);
        assert_eq!(body.generation_id_or_member_epoch, -1);
        assert!(body.member_id.is_empty());
        let part = &body.topics[0].partitions[0];
        assert_eq!((part.partition_index, part.committed_offset), (1, 42));
    }
}

#[test]
fn records_are_asked_for_without_a_session() {
    for version in 4..=11 {
        let frame = fetch_request(
            head(version),
            "orders".into(),
            vec![(3, 42, 1000)],
            true,
            100,
            2000,
        );
        let body: FetchRequest = read(frame, ApiKey::Fetch, version);
        assert_eq!(
            (body.replica_id.0, body.session_id, body.session_epoch),
            (-1, 0, -1)
        );
        assert_eq!(
            (body.max_wait_ms, body.min_bytes, body.max_bytes),
            (100, 1, 2000)
        );
        assert_eq!(body.isolation_level, 1);
        let part = &body.topics[0].partitions[0];
        assert_eq!(
            (part.partition, part.fetch_offset, part.partition_max_bytes),
            (3, 42, 1000)
        );
        assert_eq!((part.log_start_offset, part.current_leader_epoch), (-1, -1));
    }
}

#[test]
fn versions_are_asked_for() {
    let _: ApiVersionsRequest = read(api_versions_request(head(0)), ApiKey::ApiVersions, 0);
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    Python::initialize();
    assert!(find_coordinator_request(head(0), "x".repeat(40_000)).is_err());
}
