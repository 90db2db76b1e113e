//! Every marker, every bound, and a round trip with `rml_amf0` as witness.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn all(bytes: &[u8]) -> Vec<Result<Value, Error>> {
    parse(bytes).collect()
}

fn one(bytes: &[u8]) -> Value {
    let mut values = all(bytes);
    assert_eq!(values.len(), 1, "{values:?}");
    values.pop().unwrap().unwrap()
}

#[test]
fn every_marker_of_the_notation_is_read() {
    let object = Value::Object(vec![("a".into(), Value::Null)]);
    let cases: [(&[u8], Value); 14] = [
        (b"\x00\x40\x00\0\0\0\0\0\0", Value::Number(2.0)),
        (b"\x01\x00", Value::Boolean(false)),
        (b"\x01\x07", Value::Boolean(true)),
        (b"\x02\x00\x02hi", "hi".into()),
        (b"\x03\0\x01a\x05\0\0\x09", object.clone()),
        (b"\x05", Value::Null),
        (b"\x06", Value::Undefined),
        (b"\x07\x00\x01", Value::Undefined),
        (b"\x08\xFF\xFF\xFF\xFF\0\x01a\x05\0\0\x09", object.clone()),
        (
            b"\x0A\0\0\0\x02\x05\x06",
            Value::Array(vec![Value::Null, Value::Undefined]),
        ),
        (b"\x0B\x40\x00\0\0\0\0\0\0\0\x3C", Value::Date(2.0)),
        (b"\x0C\0\0\0\x02hi", "hi".into()),
        (b"\x0F\0\0\0\x02hi", "hi".into()),
        (b"\x10\0\x03cls\0\x01a\x05\0\0\x09", object),
    ];
    for (bytes, expect) in cases {
        assert_eq!(one(bytes), expect);
        for end in 1..bytes.len() {
            assert_eq!(
                all(&bytes[..end]),
                [Err(Error::Truncated)],
                "{bytes:?} cut at {end}"
            );
        }
    }
}

#[test]
fn s10_amf3_and_unknown_markers_end_the_values_by_name_and_keep_those_before() {
    let expect = [Ok(Value::Null), Err(Error::Unsupported { what: "AMF3" })];
    assert_eq!(all(b"\x05\x11\x0A\x05"), expect);
    assert_eq!(
        all(b"\x05\x04"),
        [Ok(Value::Null), Err(Error::Malformed { at: 1, got: 4 })]
    );
}

#[test]
fn crash1_nesting_is_bounded_whatever_the_container() {
    let deep = |unit: &[u8]| unit.repeat(200_000);
    for unit in [
        &b"\x03\0\x01a"[..],
        b"\x08\0\0\0\x01\0\x01a",
        b"\x0A\0\0\0\x01",
        b"\x10\0\0\0\x01a",
    ] {
        let limit = Error::Limit {
            which: "nesting",
            max: limits::AMF0_DEPTH_MAX,
        };
        assert_eq!(all(&deep(unit)), [Err(limit)]);
    }
    let fits = b"\x0A\0\0\0\x01".repeat(limits::AMF0_DEPTH_MAX);
    assert!(all(&[&fits[..], b"\x05"].concat())[0].is_ok());
}

#[test]
fn announced_counts_and_lengths_reserve_nothing_and_values_are_bounded() {
    assert_eq!(all(b"\x0A\xFF\xFF\xFF\xFF"), [Err(Error::Truncated)]);
    assert_eq!(all(b"\x0C\xFF\xFF\xFF\xFF"), [Err(Error::Truncated)]);
    let many = all(&vec![5; limits::AMF0_VALUES_MAX + 1]);
    let max = limits::AMF0_VALUES_MAX;
    assert_eq!(
        many.last(),
        Some(&Err(Error::Limit {
            which: "number of values",
            max
        }))
    );
}

#[test]
fn crash11_a_string_that_ends_early_is_an_error_not_padding() {
    assert_eq!(all(b"\x02\x00\x05key"), [Err(Error::Truncated)]);
}

#[test]
fn text_that_is_not_utf8_is_replaced_and_names_may_be_empty_or_repeated() {
    assert_eq!(one(b"\x02\x00\x02a\xFF"), "a\u{FFFD}".into());
    let object = one(b"\x03\0\0\x05\0\x01a\x05\0\x01a\x06\0\0\x09");
    assert_eq!(object.property(""), Some(&Value::Null));
    assert_eq!(object.property("a"), Some(&Value::Undefined));
    assert_eq!(Value::Number(f64::NAN).as_number(), None);
}

#[test]
fn long_texts_are_written_as_long_strings_and_unwritable_names_left_out() {
    let long = "x".repeat(70_000);
    let mut out = Vec::new();
    let odd = Value::Object(vec![(long.clone(), Value::Null), ("a".into(), Value::Null)]);
    write(&Value::String(long.clone()), &mut out);
    write(&odd, &mut out);
    let kept = Value::Object(vec![("a".into(), Value::Null)]);
    assert_eq!(all(&out), [Ok(Value::String(long)), Ok(kept)]);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-1e9..1e9).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        "\\PC{0,12}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        (-1e12..1e12).prop_map(Value::Date),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(("\\PC{0,8}", inner.clone()), 0..6).prop_map(Value::Object),
            prop::collection::vec(inner, 0..6).prop_map(Value::Array),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(values in prop::collection::vec(value(), 0..5)) {
        let mut out = Vec::new();
        values.iter().for_each(|value| write(value, &mut out));
        prop_assert_eq!(all(&out), values.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn rml_amf0_reads_what_we_write(number in any::<f64>(), text in "\\PC{0,40}", yes in any::<bool>()) {
        prop_assume!(!number.is_nan());
        let fields = vec![("n".to_owned(), Value::Number(number)), ("s".to_owned(), Value::String(text.clone()))];
        let mut out = Vec::new();
        write(&Value::Object(fields), &mut out);
        write(&Value::Boolean(yes), &mut out);
        let read = rml_amf0::deserialize(&mut &out[..]).unwrap();
        let object = read[0].clone().get_object_properties().unwrap();
        prop_assert_eq!(object["n"].clone().get_number(), Some(number));
        prop_assert_eq!(object["s"].clone().get_string(), Some(text));
        prop_assert_eq!(read[1].clone().get_boolean(), Some(yes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(0..20_u8, 0..600)) {
        let values = all(&bytes);
        prop_assert!(values.len() <= bytes.len());
        prop_assert!(values.iter().rev().skip(1).all(Result::is_ok), "an error is the last");
    }
}
