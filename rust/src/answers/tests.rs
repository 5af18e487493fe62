//! Answers that the generated crate encodes, read here; and answers that no good broker sends.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_describe_response as consumer;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, ConsumerGroupDescribeResponse, DescribeGroupsResponse,
    FindCoordinatorResponse, GroupId, ListGroupsResponse, ListOffsetsResponse, MetadataResponse,
    OffsetCommitResponse, OffsetFetchResponse, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use proptest::prelude::*;

use super::*;

const NUMBER: i32 = 7;
const THROTTLED: i32 = 250;
const METADATA: RangeInclusive<i16> = 4..=12;

fn text(from: &'static str) -> StrBytes {
    StrBytes::from_static_str(from)
}

fn topic() -> TopicName {
    TopicName(text("orders"))
}

fn framed<R: Encodable + HeaderVersion>(body: &R, version: i16) -> Vec<u8> {
    Python::initialize();
    let mut frame = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(NUMBER)
        .encode(&mut frame, R::header_version(version))
        .unwrap();
    body.encode(&mut frame, version).unwrap();
    frame.to_vec()
}

fn metadata(version: i16) -> Vec<u8> {
    let part = |number, error, leader: i32, away: &[i32]| {
        let away = away.iter().map(|&id| BrokerId(id)).collect();
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_error_code(error)
            .with_leader_id(BrokerId(leader))
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(1)])
            .with_offline_replicas(if version >= 5 { away } else { vec![] })
    };
    let mut topic = MetadataResponseTopic::default()
        .with_name(Some(topic()))
        .with_is_internal(true)
        .with_partitions(vec![part(0, 0, 1, &[]), part(1, 5, -1, &[1, 2])]);
    if version >= 10 {
        topic.topic_id = ID.parse().unwrap();
    }
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(text("broker"))
        .with_port(9092)
        .with_rack(Some(text("a")));
    let body = MetadataResponse::default()
        .with_throttle_time_ms(THROTTLED)
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text("a cluster")))
        .with_controller_id(BrokerId(1))
        .with_topics(vec![topic]);
    framed(&body, version)
}

const ID: &str = "09090909-0909-0909-0909-090909090909";

#[test]
fn metadata_of_every_version() {
    for version in METADATA {
        let (brokers, controller, topics) =
            metadata_answer(&metadata(version), version, NUMBER).unwrap();
        assert_eq!(brokers, [(1, "broker".to_owned(), 9092)]);
        assert_eq!(controller, 1);
        let id = if version >= 10 {
            [9; UUID_BYTES]
        } else {
            [0; UUID_BYTES]
        };
        let away = if version >= 5 { vec![1, 2] } else { vec![] };
        let parts = vec![
            (0, 0, 1, vec![1, 2], vec![1], vec![]),
            (5, 1, -1, vec![1, 2], vec![1], away),
        ];
        assert_eq!(topics, [(0, Some("orders".to_owned()), id, true, parts)]);
    }
}

fn list_offsets(version: i16) -> Vec<u8> {
    let part = ListOffsetsPartitionResponse::default()
        .with_partition_index(3)
        .with_error_code(78)
        .with_timestamp(1_000)
        .with_offset(42)
        .with_leader_epoch(if version >= 4 { 5 } else { -1 });
    let topics = ListOffsetsTopicResponse::default()
        .with_name(topic())
        .with_partitions(vec![part]);
    let mut body = ListOffsetsResponse::default().with_topics(vec![topics]);
    if version >= 2 {
        body.throttle_time_ms = THROTTLED;
    }
    framed(&body, version)
}

#[test]
fn offsets_of_every_version() {
    for version in 2..=7 {
        let found = list_offsets_answer(&list_offsets(version), version, NUMBER).unwrap();
        assert_eq!(found, [("orders".to_owned(), vec![(3, 78, 1_000, 42)])]);
    }
}

fn find_coordinator(version: i16) -> Vec<u8> {
    let mut body = FindCoordinatorResponse::default()
        .with_error_code(15)
        .with_node_id(BrokerId(2))
        .with_host(text("broker"))
        .with_port(9092);
    if version >= 1 {
        body = body
            .with_throttle_time_ms(THROTTLED)
            .with_error_message(Some(text("not yet")));
    }
    framed(&body, version)
}

#[test]
fn coordinators_of_every_version() {
    for version in 0..=3 {
        let found = find_coordinator_answer(&find_coordinator(version), version, NUMBER).unwrap();
        assert_eq!(found, (15, (2, "broker".to_owned(), 9092)));
    }
}

fn offset_fetch(version: i16) -> Vec<u8> {
    let mut part = OffsetFetchResponsePartition::default()
        .with_partition_index(3)
        .with_committed_offset(42)
        .with_metadata(Some(text("noted")))
        .with_error_code(3);
    if version >= 5 {
        part.committed_leader_epoch = 5;
    }
    let topics = OffsetFetchResponseTopic::default()
        .with_name(topic())
        .with_partitions(vec![part]);
    let mut body = OffsetFetchResponse::default()
        .with_topics(vec![topics])
        .with_error_code(16);
    if version >= 3 {
        body.throttle_time_ms = THROTTLED;
    }
    framed(&body, version)
}

#[test]
fn commits_of_every_version() {
    for version in 2..=7 {
        let found = offset_fetch_answer(&offset_fetch(version), version, NUMBER).unwrap();
        assert_eq!(found, (16, vec![("orders".to_owned(), vec![(3, 42, 3)])]));
    }
}

fn offset_commit(version: i16) -> Vec<u8> {
    let part = OffsetCommitResponsePartition::default()
        .with_partition_index(3)
        .with_error_code(25);
    let topics = OffsetCommitResponseTopic::default()
        .with_name(topic())
        .with_partitions(vec![part]);
    let mut body = OffsetCommitResponse::default().with_topics(vec![topics]);
    if version >= 3 {
        body.throttle_time_ms = THROTTLED;
    }
    framed(&body, version)
}

#[test]
fn answers_to_commits_of_every_version() {
    for version in 2..=8 {
        let found = offset_commit_answer(&offset_commit(version), version, NUMBER).unwrap();
        assert_eq!(found, [("orders".to_owned(), vec![(3, 25)])]);
    }
}

fn list_groups(version: i16) -> Vec<u8> {
    let mut group = ListedGroup::default()
        .with_group_id(GroupId(text("billing")))
        .with_protocol_type(text("consumer"));
    if version >= 4 {
        group.group_state = text("Stable");
    }
    let mut body = ListGroupsResponse::default()
        .with_error_code(14)
        .with_groups(vec![group]);
    if version >= 1 {
        body.throttle_time_ms = THROTTLED;
    }
    framed(&body, version)
}

#[test]
fn groups_of_every_version() {
    for version in 0..=4 {
        let found = list_groups_answer(&list_groups(version), version, NUMBER).unwrap();
        assert_eq!(
            found,
            (14, vec![("billing".to_owned(), "consumer".to_owned())])
        );
    }
}

fn described() -> Vec<Group> {
    let member = ("client".to_owned(), "member".to_owned(), "/host".to_owned());
    vec![(30, "Stable".to_owned(), vec![member])]
}

fn describe_groups(version: i16) -> Vec<u8> {
    let mut member = DescribedGroupMember::default()
        .with_member_id(text("member"))
        .with_client_id(text("client"))
        .with_client_host(text("/host"))
        .with_member_metadata(Bytes::from_static(b"\xff\xfe"))
        .with_member_assignment(Bytes::from_static(b"\x00"));
    if version >= 4 {
        member.group_instance_id = Some(text("instance"));
    }
    let group = DescribedGroup::default()
        .with_error_code(30)
        .with_group_id(GroupId(text("billing")))
        .with_group_state(text("Stable"))
        .with_protocol_type(text("consumer"))
        .with_protocol_data(text("range"))
        .with_members(vec![member]);
    let mut body = DescribeGroupsResponse::default().with_groups(vec![group]);
    if version >= 1 {
        body.throttle_time_ms = THROTTLED;
    }
    framed(&body, version)
}

#[test]
fn described_groups_of_every_version() {
    for version in 0..=5 {
        let found = describe_groups_answer(&describe_groups(version), version, NUMBER).unwrap();
        assert_eq!(found, described());
    }
}

fn consumer_group_describe(version: i16) -> Vec<u8> {
    let assigned = consumer::TopicPartitions::default()
        .with_topic_id(ID.parse().unwrap())
        .with_topic_name(topic())
        .with_partitions(vec![0, 1]);
    let assignment = consumer::Assignment::default().with_topic_partitions(vec![assigned]);
    let member = consumer::Member::default()
        .with_member_id(text("member"))
        .with_instance_id(Some(text("instance")))
        .with_client_id(text("client"))
        .with_client_host(text("/host"))
        .with_subscribed_topic_names(vec![topic()])
        .with_assignment(assignment.clone())
        .with_target_assignment(assignment);
    let group = consumer::DescribedGroup::default()
        .with_error_code(30)
        .with_error_message(Some(text("not allowed")))
        .with_group_id(GroupId(text("billing")))
        .with_group_state(text("Stable"))
        .with_assignor_name(text("uniform"))
        .with_members(vec![member]);
    let body = ConsumerGroupDescribeResponse::default()
        .with_throttle_time_ms(THROTTLED)
        .with_groups(vec![group]);
    framed(&body, version)
}

#[test]
fn described_consumer_groups_of_every_version() {
    for version in 0..=1 {
        let frame = consumer_group_describe(version);
        let found = consumer_group_describe_answer(&frame, version, NUMBER).unwrap();
        assert_eq!(found, described());
    }
}

fn api_versions(version: i16) -> Vec<u8> {
    let api = ApiVersion::default()
        .with_api_key(68)
        .with_min_version(0)
        .with_max_version(1);
    framed(
        &ApiVersionsResponse::default().with_api_keys(vec![api]),
        version,
    )
}

#[test]
fn versions() {
    let found = api_versions_answer(&api_versions(0), 0, NUMBER).unwrap();
    assert_eq!(found, (0, vec![(68, 0, 1)]));
}

/// Read a frame as each kind of answer, for whoever only cares that this ends.
fn read_all(frame: &[u8], version: i16) -> usize {
    let results = [
        api_versions_answer(frame, version, NUMBER).is_ok(),
        metadata_answer(frame, version, NUMBER).is_ok(),
        list_offsets_answer(frame, version, NUMBER).is_ok(),
        find_coordinator_answer(frame, version, NUMBER).is_ok(),
        offset_fetch_answer(frame, version, NUMBER).is_ok(),
        offset_commit_answer(frame, version, NUMBER).is_ok(),
        list_groups_answer(frame, version, NUMBER).is_ok(),
        describe_groups_answer(frame, version, NUMBER).is_ok(),
        consumer_group_describe_answer(frame, version, NUMBER).is_ok(),
    ];
    results.into_iter().filter(|&ok| ok).count()
}

fn whole_frames(version: i16) -> Vec<Vec<u8>> {
    vec![
        metadata(version.clamp(4, 12)),
        list_offsets(version.clamp(2, 7)),
        offset_fetch(version.clamp(2, 7)),
        describe_groups(version.clamp(0, 5)),
        consumer_group_describe(version.clamp(0, 1)),
        list_groups(version.clamp(0, 4)),
    ]
}

proptest! {
    #[test]
    fn anything_is_an_answer_or_malformed(body: Vec<u8>, version in 0_i16..=13) {
        Python::initialize();
        let frame = [&NUMBER.to_be_bytes()[..], &body].concat();
        read_all(&frame, version);
    }

    #[test]
    fn a_changed_answer_is_read_or_malformed(
        version in 0_i16..=12, which in 0_usize..6, at: prop::sample::Index, bytes: [u8; 4], cut: prop::sample::Index
    ) {
        let mut frame = whole_frames(version).swap_remove(which);
        let place = at.index(frame.len());
        for (old, new) in frame[place..].iter_mut().zip(bytes) {
            *old = new;
        }
        read_all(&frame, version);
        frame.truncate(cut.index(frame.len()));
        read_all(&frame, version);
    }
}

#[test]
fn every_cut_is_malformed() {
    for version in METADATA {
        let frame = metadata(version);
        for end in 0..frame.len() {
            assert!(metadata_answer(&frame[..end], version, NUMBER).is_err());
        }
    }
}

#[test]
fn a_count_allocates_nothing() {
    Python::initialize();
    let mut plain = BytesMut::new();
    plain.put_i32(NUMBER);
    plain.put_i32(0);
    plain.put_i32(i32::MAX); // brokers
    assert!(metadata_answer(&plain, 4, NUMBER).is_err());
    let flexible = [
        &NUMBER.to_be_bytes()[..],
        &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    .concat();
    assert!(metadata_answer(&flexible, 12, NUMBER).is_err());
}

#[test]
fn structures_are_counted() {
    Python::initialize();
    let many = MOST_STRUCTURES + 1;
    let mut frame = BytesMut::new();
    frame.put_i32(NUMBER);
    frame.put_i16(0);
    frame.put_i32(i32::try_from(many).unwrap());
    frame.put_bytes(0, 4 * many); // groups without a name
    assert!(list_groups_answer(&frame, 0, NUMBER).is_err());
}

#[test]
fn names_are_utf_8_and_the_number_is_the_one_sent() {
    let mut frame = metadata(12);
    assert!(metadata_answer(&frame, 12, NUMBER + 1).is_err());
    let place = frame.windows(6).position(|six| six == b"broker").unwrap();
    frame[place] = 0xff;
    let error = metadata_answer(&frame, 12, NUMBER).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    // Nobody reads the cluster's name.
    let mut frame = metadata(12);
    let place = frame
        .windows(9)
        .position(|nine| nine == b"a cluster")
        .unwrap();
    frame[place] = 0xff;
    assert!(metadata_answer(&frame, 12, NUMBER).is_ok());
}
