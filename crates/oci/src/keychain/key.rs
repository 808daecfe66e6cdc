//! Which key of a file means which repository: registries have several names, and files have had
//! several forms.

/// Docker Hub's key since its first version, and what helpers are asked for.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a helper is asked for: the registry, for Docker Hub by its old address.
pub(super) fn server(registry: &str) -> String {
    match is_docker_hub(registry) {
        true => DOCKER_HUB_KEY.to_owned(),
        false => registry.to_owned(),
    }
}

fn is_docker_hub(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

/// How well a key fits a repository: the longer the part of the repository's name that it has, the
/// better. `None` when it means something else.
///
/// A key is a registry, or a registry with the beginning of a repository's name, whole parts only
/// (`containers-auth.json(5)`); Docker's own are addresses with a scheme, whose path says nothing
/// about repositories.
pub(super) fn fit(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let address = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let (host, below) = match address {
        Some(address) => (address.split('/').next().unwrap_or(address), ""),
        None => key.split_once('/').unwrap_or((key, "")),
    };
    let same = host.eq_ignore_ascii_case(registry)
        || (is_docker_hub(&host.to_ascii_lowercase()) && is_docker_hub(registry));
    if !same {
        return None;
    }
    // Of old clients' addresses, some were written without the scheme.
    let below = match below.trim_end_matches('/') {
        "v1" | "v2" => "",
        below => below,
    };
    let rest = repository.strip_prefix(below)?;
    let whole = below.is_empty() || rest.is_empty() || rest.starts_with('/');
    whole.then_some(below.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_of_the_name_fits_best() {
        let check = |key, fits| assert_eq!(fit(key, "quay.io:8443", "team/app"), fits, "{key}");
        check("quay.io:8443", Some(0));
        check("https://quay.io:8443", Some(0));
        check("https://quay.io:8443/v2/", Some(0));
        check("QUAY.IO:8443/v1/", Some(0));
        check("quay.io:8443/team", Some(4));
        check("quay.io:8443/team/app", Some(8));
        check("quay.io:8443/te", None);
        check("quay.io:8443/team/app/more", None);
        check("quay.io", None);
        check("evil-quay.io:8443", None);
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "index.docker.io/v1/",
            "docker.io",
            "registry-1.docker.io",
        ] {
            assert_eq!(fit(key, "docker.io", "library/nginx"), Some(0), "{key}");
        }
        assert_eq!(
            fit("docker.io/library", "docker.io", "library/nginx"),
            Some(7)
        );
        assert_eq!(server("docker.io"), "https://index.docker.io/v1/");
        assert_eq!(server("ghcr.io"), "ghcr.io");
    }
}
