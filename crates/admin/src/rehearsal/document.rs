//! The description of the interface against the interface.

use super::{get, observation, say, user_view};
use crate::http::table;
use serde_json::Value;

#[actix_web::test]
async fn the_document_and_the_routes_are_the_same() {
    let document = say(None, get("/openapi.json")).await.body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.push((path.clone(), method.to_uppercase()));
            let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
            for name in named {
                let parameters = operation["parameters"].as_array().unwrap();
                let known = parameters.iter().map(|parameter| resolve(&document, parameter)["name"].clone());
                assert!(known.into_iter().any(|known| known == name), "{path}: {name}");
            }
            assert!(
                operation["responses"].as_object().unwrap().keys().any(|code| code.starts_with('2')),
                "{path}"
            );
        }
    }
    let mut routed: Vec<_> =
        table().into_iter().map(|(path, method, _)| (path.to_owned(), method.to_owned())).collect();
    described.sort();
    routed.sort();
    assert_eq!(described, routed);
    references(&document, &document);
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(name) => {
            document.pointer(name.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{name} dangles"))
        }
        None => value,
    }
}

fn references(document: &Value, value: &Value) {
    resolve(document, value);
    match value {
        Value::Object(members) => members.values().for_each(|member| references(document, member)),
        Value::Array(items) => items.iter().for_each(|item| references(document, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[actix_web::test]
async fn the_document_names_every_member_of_a_view() {
    let document = say(None, get("/openapi.json")).await.body;
    let schemas = &document["components"]["schemas"];
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let user = serde_json::to_value(user_view()).unwrap();
    for key in keys(&user) {
        let known = schemas["View"]["properties"]
            .get(&key)
            .or(schemas["UserView"]["allOf"][1]["properties"].get(&key));
        assert!(known.is_some(), "{key}");
    }
    assert_eq!(keys(&user["authentication"]), keys(&schemas["Authentication"]["properties"]));
    let observation = serde_json::to_value(&*observation(1, true)).unwrap();
    let mut described = keys(&schemas["Observation"]["properties"]);
    let mut shown = keys(&observation);
    described.sort();
    shown.sort();
    assert_eq!(described, shown);
}
