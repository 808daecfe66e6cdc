//! References to container images, as Cloud Run takes them.

use crate::gcp::Gcp;
use crate::gcp::names::in_images;

/// `REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE[:TAG][@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As given.
    pub text: String,
    /// Host and path, without tag and digest.
    path: String,
    /// The digest if given, else the tag.
    reference: String,
}

impl Image {
    /// Takes what Cloud Run takes by form. The error is its sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            Err(format!(
                "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of \
                 [region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained {text}"
            ))
        };
        if text.is_empty() {
            return Err("must be set".into());
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match rest[name_start..].split_once(':') {
            Some((name, tag)) => (format!("{}{name}", &rest[..name_start]), tag),
            None => (rest.to_owned(), ""),
        };
        let host = path.split('/').next().unwrap_or_default();
        let host_known =
            host.ends_with("docker.pkg.dev") || host.ends_with("gcr.io") || host == "docker.io";
        let foreign =
            path.contains('/') && (host.contains('.') || host.contains(':')) && !host_known;
        let digest_fits = digest.is_none_or(|d| {
            d.strip_prefix("sha256:")
                .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        let path_fits = path.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        });
        if foreign || !digest_fits || !path_fits {
            return refuse();
        }
        let reference = digest
            .unwrap_or(if tag.is_empty() { "latest" } else { tag })
            .to_owned();
        Ok(Self {
            text: text.to_owned(),
            path,
            reference,
        })
    }

    /// Where the store keeps the image, and its digest now.
    /// The error is Cloud Run's sentence about an image that is absent.
    pub fn resolve(&self, gcp: &Gcp) -> Result<Resolved, String> {
        let absent = || format!("Image '{}' not found.", self.text);
        let (host, rest) = self.path.split_once('/').ok_or_else(absent)?;
        let location = host.strip_suffix("-docker.pkg.dev").ok_or_else(absent)?;
        let own = in_images(&gcp.host().project);
        let ours = rest.strip_prefix(&own).and_then(|it| it.strip_prefix('/'));
        let Some(ours) = ours else {
            return Err(format!(
                "Google Cloud Run Service Agent must have permission to read the image, {}. \
                 Ensure that the provided container image URL is correct and that the above account has permission to access the image.",
                self.text
            ));
        };
        let (repository, image) = ours.split_once('/').ok_or_else(absent)?;
        let stored = gcp.stored_name(location, repository, image);
        let manifest = gcp
            .host()
            .store
            .manifest(&stored, &self.reference)
            .ok_or_else(absent)?;
        Ok(Resolved {
            repository: stored,
            by_digest: format!("{}@{}", self.path, manifest.digest),
            digest: manifest.digest,
        })
    }
}

/// An image that is in the store.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The store's name of the repository.
    pub repository: String,
    /// `sha256:...`.
    pub digest: String,
    /// The reference by digest, as `imageDigest` answers it.
    pub by_digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_told_from_the_path() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = Image::parse(&format!("us-docker.pkg.dev/p/r/a/b:v1@{digest}")).expect("valid");
        assert_eq!(
            (image.path.as_str(), image.reference),
            ("us-docker.pkg.dev/p/r/a/b", digest)
        );
        assert_eq!(
            Image::parse("us-docker.pkg.dev/p/r/i")
                .expect("valid")
                .reference,
            "latest"
        );
    }

    #[test]
    fn registries_that_cloud_run_cannot_pull_from_are_refused() {
        for image in [
            "",
            "123.dkr.ecr.us-east-1.amazonaws.com/a:1",
            "localhost:5000/a",
            "us-docker.pkg.dev/p/R/i",
            "a@sha256:12",
        ] {
            assert!(Image::parse(image).is_err(), "{image}");
        }
    }
}
