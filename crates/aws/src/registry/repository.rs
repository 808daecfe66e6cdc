//! `ecr.repository`: where a service's images are.

use aws_sdk_ecr::types::ImageTagMutability;

use crate::site::prelude::*;

/// A repository that exists.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryReady;

/// A service's repository. How its tags and its scanning are set is not for us to say: it is chosen
/// when we make it, and others have rules for it.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// The image is read from it: where it is somebody else's, it is used as it stands.
    pub(crate) lent: bool,
}

impl Kind for Repository {
    type Site = Clients;
    type Is = ();
    const KIND: &'static str = "ecr.repository";
    const NOUN: &'static str = "repository";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("ecr", "repository")),
        access: Access {
            feature: Feature::Always,
            read: &[grant(
                &["ecr:DescribeRepositories", "ecr:ListTagsForResource"],
                REPOSITORIES,
            )],
            change: &[grant(
                &[
                    "ecr:CreateRepository",
                    "ecr:DeleteRepository",
                    "ecr:TagResource",
                    "ecr:UntagResource",
                ],
                REPOSITORIES,
            )],
        },
    };
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["RepositoryNotFoundException"];
    const TAKEN: &'static [&'static str] = &["RepositoryAlreadyExistsException"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((): &(), _to: &mut Description) {}

    async fn find(at: &At<Clients>) -> Result<Reading<There<()>>, Refusal> {
        let ask = at.ecr.describe_repositories();
        let answer = ask.repository_names(at.name()).send().await?;
        let Some(repository) = answer.repositories().first() else {
            return Ok(Reading::Absent);
        };
        let arn = repository.repository_arn().unwrap_or_default();
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: (),
            tags: TagApi::Ecr.read(at, arn).await?,
        }))
    }

    /// With its images.
    async fn remove(at: &At<Clients>, _there: &There<()>, _token: &Token) -> Result<(), Refusal> {
        let call = at.ecr.delete_repository().repository_name(at.name());
        call.force(true).send().await?;
        Ok(())
    }
}

impl Tagged for Repository {
    async fn mark(at: &At<Clients>, there: &There<()>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::Ecr.write(at, &there.id, by).await
    }
}

impl Wish for Repository {
    type Output = RepositoryReady;
    const KEPT: Kept = Kept::Harmless("the images that served before are in it");

    fn over(&self, _at: &At<Clients>, _seen: Seen<'_, ()>) {}

    fn output(_at: &At<Clients>, _there: &There<()>) -> RepositoryReady {
        RepositoryReady
    }

    async fn make(&self, at: &At<Clients>, (): &(), _: &Token) -> Result<(), Refusal> {
        let call = at.ecr.create_repository().repository_name(at.name());
        call.image_tag_mutability(ImageTagMutability::Mutable)
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .send()
            .await?;
        Ok(())
    }

    /// Nothing of it is compared.
    async fn change(
        &self,
        _at: &At<Clients>,
        _there: &There<()>,
        (): &(),
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    fn lends(&self, _there: &There<()>) -> bool {
        self.lent
    }
}
