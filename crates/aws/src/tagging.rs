//! The calls that read and write tags: each service has its own, for everything in it.

use aws_sdk_ecs::error::BuildError;

use crate::client::Clients;
use crate::error::Refusal;
use crate::tags::{TagChanges, Tags, from_pairs};

/// A service's calls for tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagApi {
    AppRunner,
    Ecr,
    Ecs,
    ElastiCache,
    Logs,
    Rds,
    Scaling,
    SecretsManager,
}

/// A tag as one SDK has it.
pub(crate) trait SdkTag: Sized {
    /// Of a key and a value.
    fn tag(key: &str, value: &str) -> Result<Self, BuildError>;
}

macro_rules! sdk_tag {
    ($($tag:ty),+; checked: $($checked:ty),+) => {
        $(impl SdkTag for $tag {
            fn tag(key: &str, value: &str) -> Result<Self, BuildError> {
                Ok(Self::builder().key(key).value(value).build())
            }
        })+
        $(impl SdkTag for $checked {
            fn tag(key: &str, value: &str) -> Result<Self, BuildError> {
                Self::builder().key(key).value(value).build()
            }
        })+
    };
}

sdk_tag!(
    aws_sdk_apprunner::types::Tag,
    aws_sdk_ecs::types::Tag,
    aws_sdk_elasticache::types::Tag,
    aws_sdk_rds::types::Tag,
    aws_sdk_secretsmanager::types::Tag;
    checked: aws_sdk_ecr::types::Tag
);

/// Tags as an SDK takes them.
pub(crate) fn sdk_tags<T: SdkTag>(tags: &Tags) -> Result<Vec<T>, BuildError> {
    let mut pairs = tags.iter();
    pairs.try_fold(Vec::new(), |mut all, (key, value)| {
        all.push(T::tag(key, value)?);
        Ok(all)
    })
}

/// Tags as an SDK tells them.
macro_rules! told {
    ($tags:expr) => {
        $crate::tags::from_pairs($tags.iter().map(|tag| (tag.key(), tag.value())))
    };
}
pub(crate) use told;

impl TagApi {
    /// The tags of a thing that the service lists them of; ECS and Secrets Manager tell them with
    /// the thing itself.
    pub(crate) async fn read(self, clients: &Clients, arn: &str) -> Result<Tags, Refusal> {
        Ok(match self {
            Self::AppRunner => {
                let ask = clients.app_runner.list_tags_for_resource();
                told!(ask.resource_arn(arn).send().await?.tags())
            }
            Self::Ecr => {
                let ask = clients.ecr.list_tags_for_resource().resource_arn(arn);
                let answer = ask.send().await?;
                let tags = answer.tags().iter();
                from_pairs(tags.map(|tag| (Some(tag.key()), Some(tag.value()))))
            }
            Self::Ecs => {
                let ask = clients.ecs.list_tags_for_resource().resource_arn(arn);
                told!(ask.send().await?.tags())
            }
            Self::ElastiCache => {
                let ask = clients.elasticache.list_tags_for_resource();
                told!(ask.resource_name(arn).send().await?.tag_list())
            }
            Self::Logs => {
                let ask = clients.logs.list_tags_for_resource().resource_arn(arn);
                of_map(ask.send().await?.tags())
            }
            Self::Rds => {
                let ask = clients.rds.list_tags_for_resource();
                told!(ask.resource_name(arn).send().await?.tag_list())
            }
            Self::Scaling => {
                let ask = clients.scaling.list_tags_for_resource().resource_arn(arn);
                of_map(ask.send().await?.tags())
            }
            Self::SecretsManager => {
                let ask = clients.secrets.describe_secret().secret_id(arn);
                told!(ask.send().await?.tags())
            }
        })
    }

    /// Changes the tags of a thing; writes nothing where there is nothing to change. `id` is its
    /// ARN; Secrets Manager takes a name too.
    pub(crate) async fn write(
        self,
        clients: &Clients,
        id: &str,
        changes: TagChanges,
    ) -> Result<(), Refusal> {
        let TagChanges { set, remove } = changes;
        if !set.is_empty() {
            self.set(clients, id, &set).await?;
        }
        if !remove.is_empty() {
            self.unset(clients, id, remove).await?;
        }
        Ok(())
    }

    async fn set(self, clients: &Clients, id: &str, tags: &Tags) -> Result<(), Refusal> {
        match self {
            Self::AppRunner => {
                let call = clients.app_runner.tag_resource().resource_arn(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
            Self::Ecr => {
                let call = clients.ecr.tag_resource().resource_arn(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
            Self::Ecs => {
                let call = clients.ecs.tag_resource().resource_arn(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
            Self::ElastiCache => {
                let call = clients.elasticache.add_tags_to_resource().resource_name(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
            Self::Logs => {
                let call = clients.logs.tag_resource().resource_arn(id);
                let tags = tags.clone().into_iter().collect();
                call.set_tags(Some(tags)).send().await?;
            }
            Self::Rds => {
                let call = clients.rds.add_tags_to_resource().resource_name(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
            Self::Scaling => {
                let call = clients.scaling.tag_resource().resource_arn(id);
                let tags = tags.clone().into_iter().collect();
                call.set_tags(Some(tags)).send().await?;
            }
            Self::SecretsManager => {
                let call = clients.secrets.tag_resource().secret_id(id);
                call.set_tags(Some(sdk_tags(tags)?)).send().await?;
            }
        }
        Ok(())
    }

    async fn unset(self, clients: &Clients, id: &str, keys: Vec<String>) -> Result<(), Refusal> {
        let keys = Some(keys);
        match self {
            Self::AppRunner => {
                let call = clients.app_runner.untag_resource().resource_arn(id);
                call.set_tag_keys(keys).send().await?;
            }
            Self::Ecr => {
                let call = clients.ecr.untag_resource().resource_arn(id);
                call.set_tag_keys(keys).send().await?;
            }
            Self::Ecs => {
                let call = clients.ecs.untag_resource().resource_arn(id);
                call.set_tag_keys(keys).send().await?;
            }
            Self::ElastiCache => {
                let call = clients.elasticache.remove_tags_from_resource();
                call.resource_name(id).set_tag_keys(keys).send().await?;
            }
            Self::Logs => {
                let call = clients.logs.untag_resource().resource_arn(id);
                call.set_tag_keys(keys).send().await?;
            }
            Self::Rds => {
                let call = clients.rds.remove_tags_from_resource();
                call.resource_name(id).set_tag_keys(keys).send().await?;
            }
            Self::Scaling => {
                let call = clients.scaling.untag_resource().resource_arn(id);
                call.set_tag_keys(keys).send().await?;
            }
            Self::SecretsManager => {
                let call = clients.secrets.untag_resource().secret_id(id);
                call.set_tag_keys(keys).send().await?;
            }
        }
        Ok(())
    }
}

fn of_map(tags: Option<&std::collections::HashMap<String, String>>) -> Tags {
    let pairs = tags.into_iter().flatten();
    from_pairs(pairs.map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))))
}
