//! What is compared of a secret whose value others know later.

use deployer_core::graph::Value;

use super::*;

fn version() -> SecretVersion {
    SecretVersion {
        secret: "projects/demo-project/secrets/db-url".into(),
        version: "4".into(),
    }
}

fn there(value: &str) -> Holding {
    Holding::Value(version(), SecretString::from(value.to_owned()))
}

#[test]
fn a_secret_made_from_a_database_is_known_after_it_compared_with_it_and_never_shown() {
    let address: Address = "gcp/europe-west1/sql.user/idp/app".parse().unwrap();
    let url: Output<SecretString> = Output::of(&address);
    let content = SecretContent::From(Value::From(url.clone()));
    let unknown = FieldValue::AfterApply {
        known_after: address,
    };
    assert_eq!(wanted(&content, &there("postgresql://old")), unknown);
    assert_eq!(wanted(&content, &Holding::Nothing), unknown);

    url.publish(SecretString::from("postgresql://new".to_owned()));
    let known = |text: &str| FieldValue::Known(text.to_owned());
    assert_eq!(
        wanted(&content, &there("postgresql://old")),
        known("new version")
    );
    assert_eq!(
        wanted(&content, &there("postgresql://new")),
        known("version 4")
    );
    assert_eq!(wanted(&content, &Holding::Nothing), known("new version"));
    assert_eq!(format!("{content:?}"), "From([redacted])");
}
