//! The documents by themselves: what OpenAPI 3.1 asks of the parts that they use.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Members of a path item that are operations.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// A document, read.
pub(crate) struct Document {
    pub(crate) name: &'static str,
    pub(crate) root: Value,
}

/// One method of one path.
pub(crate) struct Operation<'a> {
    pub(crate) method: String,
    pub(crate) path: &'a str,
    /// The path's parameters, and its own in their place.
    parameters: Vec<&'a Value>,
    pub(crate) value: &'a Value,
    document: &'a Document,
}

impl Document {
    pub(crate) fn management() -> Document {
        Document::read("management.json", MANAGEMENT)
    }

    pub(crate) fn query() -> Document {
        Document::read("query.json", QUERY)
    }

    fn read(name: &'static str, text: &str) -> Document {
        let root = serde_json::from_str(text).expect(name);
        Document { name, root }
    }

    fn paths(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.root["paths"].as_object().expect("paths");
        paths.iter().map(|(path, item)| (path.as_str(), item))
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let of_path = |(path, item)| self.operations_of(path, item);
        self.paths().flat_map(of_path).collect()
    }

    fn operations_of<'a>(&'a self, path: &'a str, item: &'a Value) -> Vec<Operation<'a>> {
        let members = item.as_object().expect("a path item").iter();
        let methods = members.filter(|(name, _)| METHODS.contains(&name.as_str()));
        let operation = |(method, value): (&String, &'a Value)| Operation {
            method: method.to_uppercase(),
            path,
            parameters: self.parameters(item, value),
            value,
            document: self,
        };
        methods.map(operation).collect()
    }

    fn parameters<'a>(&'a self, item: &'a Value, operation: &'a Value) -> Vec<&'a Value> {
        let listed = |of: &'a Value| of["parameters"].as_array().into_iter().flatten();
        let key = |one: &Value| (one["name"].clone(), one["in"].clone());
        let own: Vec<_> = listed(operation).map(|one| self.resolve(one)).collect();
        let shared = listed(item).map(|one| self.resolve(one));
        let is_left = |one: &&Value| own.iter().all(|other| key(other) != key(one));
        shared.filter(is_left).chain(own.iter().copied()).collect()
    }

    /// What a reference stands for; anything else for itself.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(target) = value["$ref"].as_str() else {
            return value;
        };
        let pointer = target.strip_prefix('#').expect("a reference within");
        let found = self.root.pointer(pointer);
        found.unwrap_or_else(|| panic!("{}: {target} is not there", self.name))
    }

    /// Every value within, from the outermost.
    fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
        visit(value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| Document::walk(item, visit)),
            Value::Object(items) => items.values().for_each(|item| Document::walk(item, visit)),
            _ => {}
        }
    }

    fn references(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        Document::walk(&self.root, &mut |value| {
            found.extend(value["$ref"].as_str());
        });
        found
    }
}

impl Operation<'_> {
    /// `METHOD path`, as failures name it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with the example of each of its parameters, and those of the query.
    pub(crate) fn example_path(&self) -> String {
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        for parameter in &self.parameters {
            let name = parameter["name"].as_str().expect("a name");
            let example = match &parameter["example"] {
                Value::String(text) => text.clone(),
                Value::Null => continue,
                other => other.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
                Some("query") => query.push(format!("{name}={example}")),
                _ => {}
            }
        }
        if query.is_empty() {
            path
        } else {
            format!("{path}?{}", query.join("&"))
        }
    }

    /// The bodies that it shows, by name; one that is empty where it takes none.
    pub(crate) fn example_bodies(&self) -> Vec<(String, String)> {
        let media = &self.value["requestBody"]["content"]["application/json"];
        let examples = media["examples"].as_object().into_iter().flatten();
        let body =
            |(name, example): (&String, &Value)| (name.clone(), example["value"].to_string());
        let found: Vec<_> = examples.map(body).collect();
        if self.value["requestBody"].is_null() {
            return vec![("no body".to_owned(), String::new())];
        }
        found
    }

    pub(crate) fn documents(&self, status: u16) -> bool {
        !self.value["responses"][status.to_string()].is_null()
    }
}

fn documents() -> [Document; 2] {
    [Document::management(), Document::query()]
}

#[test]
fn the_documents_are_of_this_version() {
    for document in documents() {
        assert_eq!(document.root["openapi"], "3.1.0", "{}", document.name);
        let version = &document.root["info"]["version"];
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{}", document.name);
    }
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    for document in documents() {
        let references = document.references();
        for target in &references {
            let pointer = target.strip_prefix('#').expect("a reference within");
            let found = document.root.pointer(pointer);
            assert!(found.is_some(), "{}: {target}", document.name);
        }
        for kind in ["parameters", "responses", "schemas"] {
            let components = document.root["components"][kind].as_object();
            for name in components.into_iter().flat_map(|all| all.keys()) {
                let target = format!("#/components/{kind}/{name}");
                assert!(
                    references.contains(&*target),
                    "{}: {target} is not used",
                    document.name
                );
            }
        }
    }
}

#[test]
fn every_operation_is_complete_and_has_its_own_id() {
    for document in documents() {
        let tags: Vec<_> = document.root["tags"]
            .as_array()
            .expect("tags")
            .iter()
            .collect();
        let mut ids = BTreeSet::new();
        for operation in document.operations() {
            let name = format!("{}: {}", document.name, operation.name());
            let id = operation.value["operationId"].as_str();
            assert!(
                ids.insert(id.unwrap_or_else(|| panic!("{name} has no id"))),
                "{name}"
            );
            assert!(operation.value["summary"].is_string(), "{name}");
            for tag in operation.value["tags"].as_array().expect("tags") {
                assert!(
                    tags.iter().any(|known| known["name"] == *tag),
                    "{name}: {tag}"
                );
            }
            check_parameters(&operation, &name);
            check_responses(&operation, &name);
        }
    }
}

/// Each `{name}` of the path is a parameter that must be there, and no other is of the path.
fn check_parameters(operation: &Operation<'_>, name: &str) {
    let pieces = operation.path.split('{').skip(1);
    let in_path: BTreeSet<_> = pieces.filter_map(|piece| piece.split('}').next()).collect();
    let mut declared = BTreeSet::new();
    for parameter in &operation.parameters {
        assert!(parameter["schema"].is_object(), "{name}: {parameter}");
        assert!(parameter["description"].is_string(), "{name}: {parameter}");
        if parameter["in"] == "path" {
            assert_eq!(parameter["required"], true, "{name}: {parameter}");
            declared.extend(parameter["name"].as_str());
        }
    }
    assert_eq!(in_path, declared, "{name}");
}

/// Each status is a number with a description, one of success among them.
fn check_responses(operation: &Operation<'_>, name: &str) {
    let responses = operation.value["responses"].as_object().expect(name);
    let mut good = 0;
    for (status, response) in responses {
        let status: u16 = status.parse().expect(name);
        assert!((200..600).contains(&status), "{name}: {status}");
        good += usize::from(status < 300);
        let response = operation.document.resolve(response);
        assert!(response["description"].is_string(), "{name}: {status}");
    }
    assert!(good > 0, "{name} never succeeds");
}

#[test]
fn only_safe_operations_go_without_the_token_of_the_document() {
    for document in documents() {
        assert_eq!(document.root["security"][1]["token"], Value::Array(vec![]));
        for operation in document.operations() {
            let open = operation.value["security"].as_array();
            assert!(
                open.is_none() || operation.method == "GET",
                "{}: {}",
                document.name,
                operation.name()
            );
        }
    }
}
