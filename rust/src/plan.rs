//! Plans from Python: nested tuples, each beginning with the name of what it is.

use std::collections::BTreeMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::avro::{Field, Node, Record};
use crate::protobuf::{self, Kind, Message, Names};
use crate::typed::Absent;

type Fields = Vec<(String, Py<PyAny>, Option<usize>)>;
type Defaults = Vec<(usize, Py<PyAny>, Vec<u8>)>;

/// Read how Avro's values are to be read.
pub fn avro_node(given: &Bound<'_, PyAny>) -> PyResult<Node> {
    let given = given.cast::<PyTuple>()?;
    let kind: String = given.get_item(0)?.extract()?;
    let part = |number: usize| given.get_item(number);
    Ok(match kind.as_str() {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "uuid" => Node::Uuid,
        "duration" => Node::Duration,
        "fixed" => Node::Fixed(part(1)?.extract()?),
        "decimal" => Node::Decimal(part(1)?.extract()?),
        "enum" => {
            let names: Vec<Option<String>> = part(1)?.extract()?;
            let bytes = |name: Option<String>| name.map(|name| name.into_bytes().into());
            Node::Enum(names.into_iter().map(bytes).collect())
        }
        "array" => Node::Array(Box::new(avro_node(&part(1)?)?)),
        "map" => Node::Map(Box::new(avro_node(&part(1)?)?)),
        "record" => Node::Record(record(&part(1)?, &part(2)?)?),
        "union" => {
            let branches: Vec<Bound<'_, PyAny>> = part(1)?.extract()?;
            Node::Union(branches.iter().map(avro_node).collect::<PyResult<_>>()?)
        }
        "member" => Node::Member(part(1)?.extract()?, Box::new(avro_node(&part(2)?)?)),
        "passed" => Node::Passed(Box::new(avro_node(&part(1)?)?)),
        "misfit" => Node::Misfit(part(1)?.extract()?),
        "named" => Node::Named(part(1)?.extract()?),
        _ => {
            return Err(PyValueError::new_err(format!(
                "{kind:?} is no part of a plan"
            )));
        }
    })
}

fn record(fields: &Bound<'_, PyAny>, defaults: &Bound<'_, PyAny>) -> PyResult<Record> {
    let py = fields.py();
    let mut record = Record::default();
    for (name, node, column) in fields.extract::<Fields>()? {
        let node = avro_node(node.bind(py))?;
        record.fields.push(Field { name, node, column });
    }
    for (column, node, bytes) in defaults.extract::<Defaults>()? {
        let node = avro_node(node.bind(py))?;
        record.defaults.push((column, node, bytes.into()));
    }
    Ok(record)
}

type Given = (
    u32,
    String,
    Option<usize>,
    Py<PyAny>,
    bool,
    Option<String>,
    Option<usize>,
);

/// Read how Protobuf's messages are to be read.
pub fn message(given: &Bound<'_, PyAny>) -> PyResult<Message> {
    let py = given.py();
    let (fields, oneofs): (Vec<Given>, Vec<Vec<usize>>) = given.extract()?;
    let mut message = Message {
        oneofs,
        ..Message::default()
    };
    for (number, name, column, node, repeated, absent, oneof) in fields {
        message.fields.push(protobuf::Field {
            number,
            name,
            column,
            kind: kind(node.bind(py))?,
            repeated,
            absent: match absent.as_deref() {
                None => Absent::Null,
                Some("") => Absent::Zero,
                Some(name) => Absent::Name(name.as_bytes().into()),
            },
            oneof,
        });
    }
    message.fields.sort_by_key(|field| field.number);
    Ok(message)
}

fn kind(given: &Bound<'_, PyAny>) -> PyResult<Kind> {
    let given = given.cast::<PyTuple>()?;
    let kind_name: String = given.get_item(0)?.extract()?;
    Ok(match kind_name.as_str() {
        "bool" => Kind::Bool,
        "varint" => Kind::Varint,
        "zigzag" => Kind::Zigzag,
        "fixed32" => Kind::Fixed32,
        "fixed64" => Kind::Fixed64,
        "bytes" => Kind::Bytes,
        "time" => Kind::Time,
        "group" => Kind::Group,
        "wrapper" => Kind::Wrapper(Box::new(kind(&given.get_item(1)?)?)),
        "message" => Kind::Message(message(&given.get_item(1)?)?),
        "entry" => Kind::Message(Message {
            is_entry: true,
            ..message(&given.get_item(1)?)?
        }),
        "enum" => {
            let names: BTreeMap<i32, String> = given.get_item(1)?.extract()?;
            let bytes = |(number, name): (i32, String)| (number, name.into_bytes().into());
            Kind::Enum(Names {
                names: names.into_iter().map(bytes).collect(),
                closed: given.get_item(2)?.extract()?,
            })
        }
        _ => {
            return Err(PyValueError::new_err(format!(
                "{kind_name:?} is no part of a plan"
            )));
        }
    })
}
