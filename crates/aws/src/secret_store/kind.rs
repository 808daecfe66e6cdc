//! What a secret is by its address alone: `secretsmanager.secret`, read, removed, let go.

use super::Secret;
use super::calls::{SecretActual, delete_secret, read_secret};
use crate::site::prelude::*;

impl Kind for Secret {
    type Site = Clients;
    type Is = SecretActual;
    const KIND: &'static str = "secretsmanager.secret";
    const NOUN: &'static str = "secret";
    const ROLE: Role = Role::Secret;
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        // "Secrets Manager includes six random characters at the end of the secret name in the ARN"
        // (API Reference, "CreateSecret").
        arn: Some(Arn::named("secretsmanager", "secret", |name| {
            Some(name.rsplit_once('-')?.0)
        })),
        access: Access {
            feature: Feature::Secrets,
            read: &[
                grant(
                    &[
                        "secretsmanager:DescribeSecret",
                        "secretsmanager:GetSecretValue",
                        "secretsmanager:ListSecretVersionIds",
                    ],
                    SECRETS,
                ),
                // Each value needs GetSecretValue besides.
                grant(&["secretsmanager:BatchGetSecretValue"], ANYTHING),
            ],
            change: &[grant(
                &[
                    "secretsmanager:CreateSecret",
                    "secretsmanager:DeleteSecret",
                    "secretsmanager:PutSecretValue",
                    "secretsmanager:RestoreSecret",
                    "secretsmanager:TagResource",
                    "secretsmanager:UntagResource",
                    "secretsmanager:UpdateSecretVersionStage",
                ],
                SECRETS,
            )],
        },
    };
    const DATA: Data = Data::AsNoted;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &SecretActual, to: &mut Description) {
        to.extend(&is.fields());
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<SecretActual>>, Refusal> {
        let reading = read_secret(at, at.name()).await?;
        Ok(reading.map(|secret| There {
            id: secret.arn.clone(),
            tags: secret.tags.clone(),
            is: secret,
        }))
    }

    async fn remove(
        at: &At<Clients>,
        _there: &There<SecretActual>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        delete_secret(at, at.name()).await
    }
}

impl Tagged for Secret {
    async fn mark(
        at: &At<Clients>,
        _there: &There<SecretActual>,
        by: TagChanges,
    ) -> Result<(), Refusal> {
        TagApi::SecretsManager.write(at, at.name(), by).await
    }
}
