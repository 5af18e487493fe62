//! Any bytes are values of a schema or the errors of their rows: Avro, Protobuf, and the fronts of both.
#![no_main]

use std::sync::Arc;

use arrow_array::{Array, BinaryArray};
use arrow_schema::{DataType, Field as ArrowField, Fields, TimeUnit};
use kafkalab_fuzz::avro::{self, Node};
use kafkalab_fuzz::framing;
use kafkalab_fuzz::protobuf::{self, Kind, Message, Names};
use kafkalab_fuzz::typed::{Absent, Column};
use libfuzzer_sys::fuzz_target;

fn named(kinds: Vec<DataType>) -> Fields {
    let field = |(number, kind): (usize, DataType)| ArrowField::new(number.to_string(), kind, true);
    kinds.into_iter().enumerate().map(field).collect()
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(ArrowField::new("item", item, true)))
}

fn map(value: DataType) -> DataType {
    let entry = vec![
        ArrowField::new("key", DataType::Utf8, false),
        ArrowField::new("value", value, true),
    ];
    DataType::Map(
        Arc::new(ArrowField::new(
            "entries",
            DataType::Struct(entry.into()),
            false,
        )),
        false,
    )
}

fn record(nodes: Vec<Node>) -> Node {
    let field = |(number, node)| avro::Field {
        name: String::new(),
        node,
        column: Some(number),
    };
    Node::Record(avro::Record {
        fields: nodes.into_iter().enumerate().map(field).collect(),
        defaults: vec![],
    })
}

/// A schema with everything, in itself once.
fn of_avro(depth: usize) -> (Node, DataType) {
    let mut parts = vec![
        (Node::Long, DataType::Int64),
        (Node::Union(vec![Node::Null, Node::Bytes]), DataType::Utf8),
        (Node::Array(Box::new(Node::Null)), list(DataType::Null)),
        (Node::Map(Box::new(Node::Int)), map(DataType::Int32)),
        (Node::Decimal(None), DataType::Decimal256(40, 2)),
        (Node::Decimal(Some(3)), DataType::Decimal128(5, 2)),
        (Node::Uuid, DataType::Utf8),
        (Node::Enum(vec![Some((*b"A").into()), None]), DataType::Utf8),
        (Node::Passed(Box::new(Node::Named(0))), DataType::Null),
        (
            Node::Duration,
            DataType::Struct(named(vec![DataType::UInt32; 3])),
        ),
        (
            Node::Union(vec![
                Node::Member(0, Box::new(Node::Boolean)),
                Node::Member(1, Box::new(Node::Fixed(2))),
                Node::Misfit(String::new()),
            ]),
            DataType::Struct(named(vec![DataType::Boolean, DataType::FixedSizeBinary(2)])),
        ),
    ];
    if depth > 0 {
        let (inner, kind) = of_avro(depth - 1);
        parts.insert(1, (Node::Array(Box::new(inner)), list(kind)));
    }
    let (nodes, kinds) = parts.into_iter().unzip();
    (record(nodes), DataType::Struct(named(kinds)))
}

/// A message with everything, in itself once.
fn of_protobuf(depth: usize) -> (Message, Fields) {
    let names = || Names {
        names: vec![(0, (*b"NONE").into()), (5, (*b"FIVE").into())],
        closed: depth > 0,
    };
    let mut parts = vec![
        (Kind::Varint, DataType::Int32, Absent::Zero),
        (Kind::Zigzag, DataType::Int64, Absent::Null),
        (Kind::Bool, DataType::Boolean, Absent::Zero),
        (Kind::Fixed32, DataType::Float32, Absent::Null),
        (Kind::Fixed64, DataType::UInt64, Absent::Zero),
        (Kind::Bytes, DataType::Utf8, Absent::Zero),
        (
            Kind::Enum(names()),
            DataType::Utf8,
            Absent::Name((*b"NONE").into()),
        ),
        (
            Kind::Time,
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            Absent::Null,
        ),
        (
            Kind::Wrapper(Box::new(Kind::Bytes)),
            DataType::Binary,
            Absent::Null,
        ),
    ];
    if depth > 0 {
        let (inner, kinds) = of_protobuf(depth - 1);
        parts.push((Kind::Message(inner), DataType::Struct(kinds), Absent::Null));
    }
    let mut message = Message {
        oneofs: vec![vec![2, 10]],
        ..Message::default()
    };
    let mut kinds = vec![];
    for (kind, data_type, absent) in parts {
        for repeated in [false, true] {
            let column = kinds.len();
            kinds.push(if repeated {
                list(data_type.clone())
            } else {
                data_type.clone()
            });
            message.fields.push(protobuf::Field {
                number: u32::try_from(column).unwrap_or(0) + 1,
                name: String::new(),
                column: Some(column),
                kind: kind.clone(),
                repeated,
                absent: if repeated {
                    Absent::Zero
                } else {
                    absent.clone()
                },
                oneof: (column == 2 || column == 10).then_some(0),
            });
        }
    }
    (message, named(kinds))
}

fuzz_target!(|given: Vec<Option<&[u8]>>| {
    let values = BinaryArray::from_iter(given.iter().copied());
    for indexes in [false, true] {
        let framed = framing::split(&values, indexes);
        assert_eq!(framed.rows.len(), values.len());
    }
    let (root, kind) = of_avro(1);
    let tree = record(vec![Node::Int, Node::Array(Box::new(Node::Named(0)))]);
    let plan = avro::Plan {
        root,
        named: vec![tree],
    };
    let mut column = Column::new(&kind).expect("known types");
    let errors = avro::decode(&values, b"", &plan, &mut column).expect("few columns");
    let rows = column.finish(values.len()).expect("whole columns");
    assert_eq!(rows.len(), values.len());
    assert!(errors.iter().all(|(row, _)| rows.is_null(*row)));
    rows.to_data().validate_full().expect("whole columns");

    let (message, fields) = of_protobuf(1);
    let mut columns = Column::all(&fields).expect("known types");
    let errors = protobuf::decode(&values, b"", &message, &mut columns).expect("few columns");
    for column in columns {
        let made = column.finish(values.len()).expect("whole columns");
        assert_eq!(made.len(), values.len());
        assert!(errors.iter().all(|(row, _)| made.is_null(*row)));
        made.to_data().validate_full().expect("whole columns");
    }
});
