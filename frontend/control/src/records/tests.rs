use skysail_core::InputType;
use skysail_core::registry::Batching;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn records() -> Vec<Record> {
    let version = |batching| {
        Record::Version(Arc::new(ModelVersion {
            idempotent: true,
            model: name("m.x"),
            version: name("1"),
            generation: 7,
            input_type: InputType::Doubles,
            labels: vec!["é \"quoted\"".to_owned(), String::new()],
            container_name: "image:latest".to_owned(),
            model_data_path: "/a/b".to_owned(),
            batching,
        }))
    };
    vec![
        Record::Application(Arc::new(Application {
            guarantee: None,
            name: name("a"),
            input_type: InputType::Floats,
            features: Some(64),
            latency_slo_micros: 20_000,
            default_output: "-1.0\n".to_owned(),
            linked_models: vec![name("m.x")],
        })),
        Record::Model(ModelRecord {
            name: name("m.x"),
            current: Some(name("2")),
            history: vec![name("1")],
        }),
        Record::Model(ModelRecord {
            name: name("m.x"),
            current: None,
            history: Vec::new(),
        }),
        version(Batching::adaptive(None)),
        version(Batching::adaptive(Some(8))),
        version(Batching::Fixed {
            size: 4,
            wait_micros: 10,
        }),
        Record::Deployment(Arc::new(Deployment {
            model: name("m.x"),
            version: name("1"),
            replicas: 2,
            replicas_before: None,
            command: vec!["program".to_owned(), "--flag".to_owned()],
        })),
        Record::Deployment(Arc::new(Deployment {
            model: name("m.x"),
            version: name("2"),
            replicas: 0,
            replicas_before: Some(3),
            command: vec!["program".to_owned()],
        })),
        Record::Generation(u64::MAX),
        Record::QueryId(1 << 53),
    ]
}

fn entry(record: Record) -> (String, Vec<u8>) {
    match Edit::Put(record).to_change() {
        Change::Put { key, value } => (key, value),
        Change::Delete { .. } => unreachable!("a put stays a put"),
    }
}

#[test]
fn reads_back_what_it_writes() {
    for record in records() {
        let (key, value) = entry(record.clone());
        assert_eq!(Record::decode(&key, &value).expect(&key), record);
        let deleted = Edit::Delete(record.key()).to_change();
        assert_eq!(deleted, Change::Delete { key });
    }
}

#[test]
fn writes_the_documented_keys() {
    let keys: Vec<_> = records().into_iter().map(|r| entry(r).0).collect();
    assert_eq!(
        keys,
        [
            "application/a",
            "model/m.x",
            "model/m.x",
            "version/m.x/1",
            "version/m.x/1",
            "version/m.x/1",
            "deployment/m.x/1",
            "deployment/m.x/2",
            "counter/generation",
            "counter/query_id",
        ]
    );
}

#[test]
fn refuses_fields_that_it_does_not_know() {
    for record in records() {
        let (key, value) = entry(record);
        let text = String::from_utf8(value).expect("JSON is UTF-8");
        let Some(rest) = text.strip_prefix('{') else {
            continue;
        };
        let error = Record::decode(&key, format!("{{\"later\":1,{rest}").as_bytes())
            .expect_err("an unknown field");
        assert!(error.to_string().contains(&key), "{error}");
        assert!(error.to_string().contains("later"), "{error}");
    }
}

#[test]
fn names_the_key_of_what_it_cannot_read() {
    for (key, value, says) in [
        ("", "1", "unknown key"),
        ("application", "{}", "unknown key"),
        ("application/a/b", "{}", "unknown key"),
        ("application/-", "{}", "unknown key"),
        ("version/m", "{}", "unknown key"),
        ("version/m/1/2", "{}", "unknown key"),
        ("counter/other", "1", "unknown key"),
        ("counter/generation", "-1", "-1"),
        ("counter/query_id", "1 2", "trailing"),
        ("counter/query_id", "", "EOF"),
        (
            "model/m",
            r#"{"name":"n","current":null,"history":[]}"#,
            "record of 'model/n'",
        ),
        (
            "model/m",
            r#"{"name":"m","current":"-","history":[]}"#,
            "is not a name",
        ),
        ("model/m", r#"{"name":"m"}"#, "missing field"),
    ] {
        let error = Record::decode(key, value.as_bytes()).expect_err(says);
        assert!(error.to_string().contains(&format!("'{key}'")), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
