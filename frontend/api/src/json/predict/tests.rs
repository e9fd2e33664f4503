use serde_json::{Value, json};

use super::*;
use crate::json::random::Random;

fn parse(body: &str, kind: InputType) -> Result<PredictBody, JsonError> {
    parse_predict(
        body.as_bytes(),
        kind,
        Some(3),
        &JsonLimits::default(),
        &PayloadBuf::default,
    )
}

fn floats(row: &RowInput) -> &[f32] {
    let values = row.data.as_slice().expect("whole elements");
    assert_eq!(values.len(), row.elements);
    values
}

fn refusal(body: &str, kind: InputType) -> (String, Option<Field>) {
    let error = parse(body, kind).expect_err(body);
    assert!(error.offset <= body.len());
    (error.to_string(), error.field)
}

#[test]
fn reads_one_input_of_each_type() {
    let body = parse("{\"input\": [1, 2.5, -3e0]}", InputType::Floats).expect("valid");
    assert_eq!(floats(&body.rows[0]), [1.0, 2.5, -3.0]);
    assert!(!body.batch && body.version.is_none() && body.rows.len() == 1);

    let body = parse(" {\"input\":[1,2]} ", InputType::Doubles).expect("valid");
    assert_eq!(body.rows[0].data.as_slice::<f64>(), Some(&[1.0, 2.0][..]));
    let body = parse("{\"input\":[1,-2147483648]}", InputType::Integers).expect("valid");
    assert_eq!(
        body.rows[0].data.as_slice::<i32>(),
        Some(&[1, i32::MIN][..])
    );
    let body = parse(r#"{"input":"a\u00e9\n\ud83d\ude00"}"#, InputType::Strings).expect("valid");
    assert_eq!(body.rows[0].data.as_bytes(), "aé\n😀".as_bytes());
    for text in [r#"{"input":"AP8Q/w=="}"#, r#"{"input":"AP8Q\/w"}"#] {
        let body = parse(text, InputType::Bytes).expect("valid");
        assert_eq!(body.rows[0].data.as_bytes(), [0, 255, 16, 255]);
        assert_eq!(body.rows[0].elements, 1);
    }
}

#[test]
fn reads_batches_versions_and_steps_over_the_rest() {
    let text = r#"{"uid":0,"x":{"a":[1,{"b":null}],"c":"]}"},"version":"2","input_batch":
        [[1], [ ] ,[1,2,3,4,5]], "y":[true,false]}"#;
    let body = parse(text, InputType::Floats).expect("valid");
    assert_eq!(body.version.as_deref(), Some("2"));
    let rows: Vec<&[f32]> = body.rows.iter().map(floats).collect();
    assert_eq!(rows, [&[1.0][..], &[], &[1.0, 2.0, 3.0, 4.0, 5.0]]);
    assert!(body.batch);
    let body = parse("{\"input_batch\":[]}", InputType::Floats).expect("valid");
    assert!(body.batch && body.rows.is_empty());
    assert_eq!(
        parse("{\"\\u0069nput\":[]}", InputType::Floats)
            .expect("valid")
            .rows[0]
            .elements,
        0
    );
}

#[test]
fn input_wins_over_a_batch_before_and_after_it() {
    for text in [
        r#"{"input":[7],"input_batch":[[1],[2]]}"#,
        r#"{"input_batch":[[1],[2]],"input":[7]}"#,
        r#"{"input_batch":[["x"],3],"input":[7]}"#,
        r#"{"input":[7],"input_batch":"x"}"#,
    ] {
        let body = parse(text, InputType::Floats).expect(text);
        assert!(!body.batch);
        assert_eq!(floats(&body.rows[0]), [7.0]);
    }
}

#[test]
fn says_in_clippers_words_what_is_wrong() {
    let cases = [
        ("[1]", "JSON schema invalid"),
        (
            "{}",
            "JSON object does not have required keys input or input_batch",
        ),
        (
            "{\"inputs\":[1]}",
            "JSON object does not have required keys input or input_batch",
        ),
        (
            "{\"input\":3}",
            "Type mismatch! JSON key input expected type Arraybut found type Number",
        ),
        (
            "{\"input_batch\":{}}",
            "Type mismatch! JSON key input_batch expected type Arraybut found type Object",
        ),
        (
            "{\"input_batch\":[[1],null]}",
            "Type mismatch! JSON key input_batch[1] expected type Arraybut found type Null",
        ),
        (
            "{\"version\":2,\"input\":[1]}",
            "Type mismatch! JSON key version expected type Stringbut found type Number",
        ),
        (
            "{\"input\":[1,\"2\"]}",
            "Array input of type String is not of type float, element 1 of input",
        ),
        (
            "{\"input_batch\":[[1],[1,2,[3]]]}",
            "Array input of type Array is not of type float, element 2 of input_batch[1]",
        ),
        (
            "{\"input\":[1e300]}",
            "1e300 is out of range for type float, element 0 of input",
        ),
        (
            "{\"input\":[0,-1e999]}",
            "-1e999 is out of range for type float, element 1 of input",
        ),
        (
            "{\"input\":[NaN]}",
            "JSON parse error: expected a number, element 0 of input (offset 10)",
        ),
        (
            "{\"input\":[1],\"input\":[1]}",
            "JSON key input appears twice",
        ),
        (
            "{\"input\":[1]} x",
            "JSON parse error: nothing may follow the document (offset 14)",
        ),
        (
            "{\"input\":[1]",
            "JSON parse error: expected ',' or '}' (offset 12)",
        ),
        ("", "JSON parse error: expected a value (offset 0)"),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(text, InputType::Floats).0, message, "{text}");
    }
    let (message, field) = refusal("{\"input_batch\":[[1],[2,1.0]]}", InputType::Integers);
    assert_eq!(
        message,
        "1.0 is not an integer, element 1 of input_batch[1]"
    );
    assert_eq!(field, Some(Field::Row(1)));
    let (message, field) = refusal("{\"input\":\"@@\"}", InputType::Bytes);
    assert_eq!(
        (message.as_str(), field),
        ("input is not a base64 string", Some(Field::Input))
    );
    let (message, _) = refusal("{\"input\":[1]}", InputType::Strings);
    assert!(
        message.ends_with("expected type Stringbut found type Array"),
        "{message}"
    );
    let (message, _) = refusal("{\"input\":[1e300]}", InputType::Integers);
    assert_eq!(message, "1e300 is not an integer, element 0 of input");
    assert!(parse("{\"input\":[1e300]}", InputType::Doubles).is_ok());
    let cause = parse("[]", InputType::Floats)
        .expect_err("an array")
        .cause();
    assert_eq!(cause, "JSON schema invalid");
}

#[test]
fn refuses_one_more_than_each_limit_and_takes_the_limit() {
    let limits = JsonLimits {
        depth_max: 4,
        keys_max: 3,
        key_bytes_max: 11,
        numbers_max: 6,
        strings_max: 2,
        rows_max: 2,
        string_bytes_max: 5,
    };
    let parse = |text: &str, kind| {
        parse_predict(text.as_bytes(), kind, None, &limits, &PayloadBuf::default)
    };
    let pairs = [
        (
            "{\"x\":[[[1]]],\"input\":[]}",
            "{\"x\":[[[[1]]]],\"input\":[]}",
        ),
        (
            "{\"a\":1,\"b\":1,\"input\":[]}",
            "{\"a\":1,\"b\":1,\"c\":1,\"input\":[]}",
        ),
        (
            "{\"x\":{\"a\":1,\"b\":1,\"c\":1},\"input\":[]}",
            "{\"x\":{\"\":1,\"\":1,\"\":1,\"\":1},\"input\":[]}",
        ),
        (
            "{\"12345678901\":0,\"input\":[]}",
            "{\"123456789012\":0,\"input\":[]}",
        ),
        (
            "{\"x\":[1,2],\"input\":[1,2,3,4]}",
            "{\"x\":[1,2],\"input\":[1,2,3,4,5]}",
        ),
        (
            "{\"input_batch\":[[1,2,3],[1,2,3]]}",
            "{\"input_batch\":[[1,2,3],[1,2,3,4]]}",
        ),
        ("{\"input_batch\":[[],[]]}", "{\"input_batch\":[[],[],[]]}"),
        (
            "{\"version\":\"12345\",\"input\":[]}",
            "{\"version\":\"123456\",\"input\":[]}",
        ),
    ];
    for (within, beyond) in pairs {
        assert!(parse(within, InputType::Floats).is_ok(), "{within}");
        let error = parse(beyond, InputType::Floats).expect_err(beyond);
        assert!(
            matches!(error.kind, JsonErrorKind::Limit { .. }),
            "{beyond}: {error}"
        );
    }
    assert!(parse("{\"input\":\"12345\"}", InputType::Strings).is_ok());
    assert!(parse("{\"input\":\"123456\"}", InputType::Strings).is_err());
}

#[test]
fn a_depth_bomb_is_an_error() {
    let bomb = format!("{{\"x\":{}", "[".repeat(1_000_000));
    assert!(matches!(
        parse(&bomb, InputType::Floats).expect_err("a bomb").kind,
        JsonErrorKind::Limit { limit: 32, .. }
    ));
}

#[test]
fn payloads_stay_in_proportion_to_the_body() {
    // Tiny rows of a model that expects long ones, and a long tail that is stepped over.
    let rows = vec!["[1]"; 1_000].join(",");
    let text = format!(
        "{{\"input_batch\":[{rows}],\"x\":\"{}\"}}",
        "x".repeat(100_000)
    );
    let limits = JsonLimits::default();
    let body = parse_predict(
        text.as_bytes(),
        InputType::Doubles,
        Some(1_000),
        &limits,
        &PayloadBuf::default,
    );
    let rows = body.expect("valid").rows;
    let room: usize = rows
        .into_iter()
        .map(|mut row| 8 * row.data.spare_mut::<f64>(0).len())
        .sum();
    assert!(
        room <= 4 * text.len() + 64 * 1_000,
        "{room} bytes for a body of {}",
        text.len()
    );
}

/// A random value of any type, and its text with random white space.
fn random_value(random: &mut Random, depth: u64) -> Value {
    match random.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.unit() * 2000.0 - 1000.0),
        3 => json!(random.next() as i32),
        4 => json!(format!("é\"\\\n{}", random.below(1000))),
        5 => (0..random.below(4))
            .map(|_| random_value(random, depth - 1))
            .collect(),
        _ => (0..random.below(4))
            .map(|index| (format!("k{index}"), random_value(random, depth - 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn random_vector(random: &mut Random, kind: InputType) -> Value {
    let length = random.below(20);
    match kind {
        InputType::Integers => (0..length).map(|_| json!(random.next() as i32)).collect(),
        InputType::Floats => (0..length)
            .map(|_| json!(random.unit() as f32 * 9.0))
            .collect(),
        InputType::Doubles => (0..length).map(|_| json!(random.unit() * 9.0)).collect(),
        InputType::Strings => json!(format!("\u{1}\t😀{}", random.next())),
        InputType::Bytes => json!(random.digits(4, 4).repeat(length as usize)),
        InputType::Tensors => unreachable!("they have no vectors"),
    }
}

fn random_body(random: &mut Random, kind: InputType) -> Value {
    let mut body = serde_json::Map::new();
    for index in 0..random.below(3) {
        body.insert(format!("other{index}"), random_value(random, 3));
    }
    if random.below(2) == 0 {
        body.insert("version".into(), json!(random.digits(1, 3)));
    }
    let rows: Value = (0..random.below(4))
        .map(|_| random_vector(random, kind))
        .collect();
    match random.below(5) {
        0 | 1 => drop(body.insert("input".into(), random_vector(random, kind))),
        2 | 3 => drop(body.insert("input_batch".into(), rows)),
        _ => {
            body.insert("input".into(), random_vector(random, kind));
            body.insert("input_batch".into(), rows);
        }
    }
    body.into()
}

/// Spreads white space over a compact text, outside of its strings.
fn loosen(random: &mut Random, text: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for character in text.chars() {
        let structural = !quoted && "{}[]:,".contains(character);
        out.push(character);
        if structural && random.below(3) == 0 {
            out.push_str([" ", "\n", "\t ", "\r\n"][random.below(4) as usize]);
        }
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
    }
    out
}

fn assert_row(row: &RowInput, vector: &Value, kind: InputType) {
    let numbers = || {
        vector
            .as_array()
            .expect("an array")
            .iter()
            .map(|v| v.as_f64().expect("f64"))
    };
    let bytes: Vec<u8> = match kind {
        InputType::Integers => numbers().flat_map(|v| (v as i32).to_le_bytes()).collect(),
        InputType::Floats => numbers().flat_map(|v| (v as f32).to_le_bytes()).collect(),
        InputType::Doubles => numbers().flat_map(f64::to_le_bytes).collect(),
        InputType::Strings => vector.as_str().expect("a string").as_bytes().to_vec(),
        InputType::Bytes => {
            use base64::Engine;
            let engine = base64::engine::general_purpose::STANDARD;
            engine
                .decode(vector.as_str().expect("a string"))
                .expect("base64")
        }
        InputType::Tensors => unreachable!("they have no vectors"),
    };
    assert_eq!(row.data.as_bytes(), bytes, "{vector}");
}

fn assert_same(parsed: &PredictBody, body: &Value, kind: InputType) {
    assert_eq!(
        parsed.version.as_deref(),
        body.get("version").and_then(Value::as_str)
    );
    assert_eq!(parsed.batch, body.get("input").is_none());
    let rows = match body.get("input") {
        Some(vector) => vec![vector.clone()],
        None => body["input_batch"].as_array().expect("a batch").clone(),
    };
    assert_eq!(parsed.rows.len(), rows.len());
    parsed
        .rows
        .iter()
        .zip(&rows)
        .for_each(|(row, vector)| assert_row(row, vector, kind));
}

#[test]
fn agrees_with_serde_json_about_random_bodies() {
    let mut random = Random::new(4);
    for _ in 0..3_000 {
        for kind in InputType::ALL
            .into_iter()
            .filter(|kind| kind.datatype().is_some())
        {
            let body = random_body(&mut random, kind);
            let text = loosen(&mut random, &body.to_string());
            let expected = Some(random.below(20) as usize);
            let limits = JsonLimits::default();
            let parsed = parse_predict(
                text.as_bytes(),
                kind,
                expected,
                &limits,
                &PayloadBuf::default,
            )
            .expect(&text);
            assert_same(&parsed, &body, kind);
        }
    }
}

#[test]
fn damaged_bodies_never_panic_and_are_taken_only_if_serde_json_does() {
    let mut random = Random::new(5);
    let alphabet = b"{}[]:,\"\\ue0123456789.-+eE truefalsenull\n\x00\xff\xc3\xa9/";
    for _ in 0..20_000 {
        let kind = InputType::ALL[random.below(5) as usize];
        let mut body = random_body(&mut random, kind).to_string().into_bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(body.len() as u64) as usize;
            let byte = alphabet[random.below(alphabet.len() as u64) as usize];
            match random.below(4) {
                0 => body.truncate(at.max(1)),
                1 => drop(body.remove(at)),
                2 => body.insert(at, byte),
                _ => body[at] = byte,
            }
            if body.is_empty() {
                body.push(byte);
            }
        }
        let parsed = parse_predict(
            &body,
            kind,
            Some(5),
            &JsonLimits::default(),
            &PayloadBuf::default,
        );
        if parsed.is_ok() {
            let text = String::from_utf8_lossy(&body);
            assert!(
                serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(),
                "{text}"
            );
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(6);
    let tokens: [&[u8]; 22] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\u12",
        b"\"input\"",
        b"\"input_batch\"",
        b"\"version\"",
        b"1",
        b"-",
        b"0.5",
        b"1e9",
        b"null",
        b" ",
        b"\xf0",
        b"12345678",
        b"e",
        b"true",
    ];
    for _ in 0..40_000 {
        let kind = InputType::ALL[random.below(5) as usize];
        let mut body = Vec::new();
        if random.below(2) == 0 {
            body.extend_from_slice(b"{\"input\":");
        }
        for _ in 0..random.below(16) {
            body.extend_from_slice(tokens[random.below(tokens.len() as u64) as usize]);
        }
        drop(parse_predict(
            &body,
            kind,
            None,
            &JsonLimits::default(),
            &PayloadBuf::default,
        ));
        let noise: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        drop(parse_predict(
            &noise,
            kind,
            Some(9),
            &JsonLimits::default(),
            &PayloadBuf::default,
        ));
    }
}
