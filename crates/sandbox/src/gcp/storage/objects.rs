//! Objects: written whole under a condition, read, listed by prefix and delimiter, deleted.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Bucket, Refusal};
use crate::gcp::Gcp;
use crate::gcp::wire::Call;

/// One live object.
#[derive(Clone, Serialize)]
pub(super) struct Stored {
    #[serde(skip)]
    pub(super) bytes: Bytes,
    pub(super) generation: i64,
    pub(super) created: jiff::Timestamp,
    pub(super) kind: Kind,
}

/// What is said of an object's content.
#[derive(Clone, Default, Serialize)]
pub(super) struct Kind {
    pub(super) content_type: String,
    pub(super) metadata: Map<String, Value>,
    /// `cacheControl`, `contentDisposition`, `contentEncoding`, `contentLanguage`, as far as given.
    pub(super) more: BTreeMap<&'static str, String>,
}

impl Stored {
    /// The CRC-32C in the spelling of both APIs.
    pub(super) fn crc32c(&self) -> String {
        STANDARD.encode(crc32c::crc32c(&self.bytes).to_be_bytes())
    }

    /// The MD5 of the content.
    pub(super) fn md5(&self) -> [u8; 16] {
        Md5::digest(&self.bytes).into()
    }

    /// The MD5 as the JSON API and `x-goog-hash` spell it.
    pub(super) fn md5_hash(&self) -> String {
        STANDARD.encode(self.md5())
    }

    /// The JSON API's: another one for every version.
    pub(super) fn etag(&self) -> String {
        let mut bytes = vec![0x08];
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        STANDARD.encode(bytes)
    }
}

/// What must hold of the live object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    generation: Option<i64>,
    not_generation: Option<i64>,
    metageneration: Option<i64>,
    not_metageneration: Option<i64>,
}

impl Conditions {
    pub(super) fn from_query(of: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let read = |name: &str| {
            let parsed = of(name).map(|text| text.parse::<i64>());
            parsed
                .transpose()
                .map_err(|_| Refusal::Invalid(format!("Invalid value for: {name}")))
        };
        Ok(Self {
            generation: read("ifGenerationMatch")?,
            not_generation: read("ifGenerationNotMatch")?,
            metageneration: read("ifMetagenerationMatch")?,
            not_metageneration: read("ifMetagenerationNotMatch")?,
        })
    }

    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let read = |name: &str| -> Result<Option<i64>, Refusal> {
            let Some(value) = headers.get(name) else {
                return Ok(None);
            };
            let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
            parsed
                .map(Some)
                .ok_or_else(|| Refusal::Invalid(format!("Invalid argument: {name}")))
        };
        Ok(Self {
            generation: read("x-goog-if-generation-match")?,
            metageneration: read("x-goog-if-metageneration-match")?,
            ..Self::default()
        })
    }

    /// A generation of 0 is that of an object that is not there.
    pub(super) fn check(self, live: Option<&Stored>) -> Result<(), Refusal> {
        let generation = live.map_or(0, |it| it.generation);
        let metageneration = live.map_or(0, |_| 1);
        let fits = |wanted: Option<i64>, is: i64| wanted.is_none_or(|wanted| wanted == is);
        let differs = |unwanted: Option<i64>, is: i64| unwanted != Some(is);
        if fits(self.generation, generation)
            && fits(self.metageneration, metageneration)
            && differs(self.not_generation, generation)
            && differs(self.not_metageneration, metageneration)
        {
            return Ok(());
        }
        Err(Refusal::Condition)
    }

    /// The same for a read: who has that generation already is told so.
    fn check_read(self, live: &Stored) -> Result<(), Refusal> {
        match self.not_generation {
            Some(known) if known == live.generation => Err(Refusal::NotModified),
            _ => self.check(Some(live)),
        }
    }
}

/// What a listing asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) prefix: String,
    pub(super) delimiter: String,
    /// From this name on.
    pub(super) from: Option<String>,
    /// Up to before this name.
    pub(super) to: Option<String>,
    /// After this name, or after everything below this prefix.
    pub(super) after: Option<String>,
    pub(super) most: usize,
}

/// A page of a listing.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) objects: Vec<(String, Stored)>,
    pub(super) prefixes: Vec<String>,
    pub(super) next: Option<String>,
}

impl Bucket {
    pub(super) fn list(&self, wanted: &Wanted) -> Listed {
        let mut listed = Listed::default();
        let mut last: Option<String> = None;
        for (name, stored) in &self.objects {
            let Some(rest) = name.strip_prefix(&wanted.prefix) else {
                continue;
            };
            let up_to = match wanted.delimiter.is_empty() {
                true => None,
                false => rest.find(&wanted.delimiter),
            };
            let entry = up_to.map_or_else(
                || name.clone(),
                |at| name[..wanted.prefix.len() + at + wanted.delimiter.len()].to_owned(),
            );
            let before = wanted.from.as_ref().is_some_and(|from| name < from)
                || wanted.after.as_ref().is_some_and(|after| entry <= *after)
                || last.as_ref() == Some(&entry);
            if before || wanted.to.as_ref().is_some_and(|to| name >= to) {
                continue;
            }
            if listed.objects.len() + listed.prefixes.len() == wanted.most {
                listed.next = last.as_deref().map(token_after);
                break;
            }
            match up_to {
                Some(_) => listed.prefixes.push(entry.clone()),
                None => listed.objects.push((name.clone(), stored.clone())),
            }
            last = Some(entry);
        }
        listed
    }
}

impl Gcp {
    /// Writes an object, over a live one where the conditions let it.
    pub(super) fn put_object(
        &self,
        bucket: &str,
        name: &str,
        bytes: Bytes,
        kind: Kind,
        conditions: Conditions,
    ) -> Result<Stored, Refusal> {
        if name.is_empty()
            || name.len() > 1024
            || name.contains(['\r', '\n'])
            || matches!(name, "." | "..")
        {
            return Err(Refusal::Invalid(format!("Invalid object name: '{name}'")));
        }
        let now = self.host().clock.now();
        self.with_bucket(bucket, |bucket| {
            conditions.check(bucket.objects.get(name))?;
            let stored = Stored {
                bytes,
                generation: self.inner.storage.next_generation(now),
                created: now,
                kind,
            };
            bucket.objects.insert(name.to_owned(), stored.clone());
            Ok(stored)
        })
    }

    /// The live object, when it is of this generation (`None`: of any).
    pub(super) fn find_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        conditions: Conditions,
    ) -> Result<Stored, Refusal> {
        let absent = || Refusal::NoObject {
            bucket: bucket.to_owned(),
            object: name.to_owned(),
        };
        self.with_bucket(bucket, |bucket| {
            let live = bucket.objects.get(name).ok_or_else(absent)?;
            if generation.is_some_and(|wanted| wanted != live.generation) {
                return Err(absent());
            }
            conditions.check_read(live)?;
            Ok(live.clone())
        })
    }

    pub(super) fn remove_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        conditions: Conditions,
    ) -> Result<(), Refusal> {
        let absent = || Refusal::NoObject {
            bucket: bucket.to_owned(),
            object: name.to_owned(),
        };
        self.with_bucket(bucket, |bucket| {
            let live = bucket.objects.get(name).ok_or_else(absent)?;
            if generation.is_some_and(|wanted| wanted != live.generation) {
                return Err(absent());
            }
            conditions.check(Some(live))?;
            bucket.objects.remove(name);
            Ok(())
        })
    }

    pub(super) fn get_object(&self, call: &Call) -> Result<Value, Refusal> {
        let stored = self.find_object(
            call.var(0),
            call.var(1),
            generation(call)?,
            conditions(call)?,
        )?;
        Ok(self.object_message(call.var(0), call.var(1), &stored))
    }

    pub(super) fn delete_object(&self, call: &Call) -> Result<Value, Refusal> {
        self.remove_object(
            call.var(0),
            call.var(1),
            generation(call)?,
            conditions(call)?,
        )?;
        Ok(json!({}))
    }

    pub(super) fn list_objects(&self, call: &Call) -> Result<Value, Refusal> {
        for other in ["matchGlob", "filter"] {
            if !call.query(other).is_empty() {
                return Err(Refusal::NotOffered(format!("`{other}`")));
            }
        }
        if call.flag("softDeleted") {
            return Err(Refusal::NotOffered("soft-deleted objects".into()));
        }
        let given = |name: &str| Some(call.query(name).to_owned()).filter(|it| !it.is_empty());
        let wanted = Wanted {
            prefix: call.query("prefix").to_owned(),
            delimiter: call.query("delimiter").to_owned(),
            from: given("startOffset"),
            to: given("endOffset"),
            after: page_token(call.query("pageToken"))?,
            most: call
                .query("maxResults")
                .parse()
                .unwrap_or(1000_usize)
                .clamp(1, 1000),
        };
        let listed = self.with_bucket(call.var(0), |bucket| Ok(bucket.list(&wanted)))?;
        let message =
            |(name, stored): &(String, Stored)| self.object_message(call.var(0), name, stored);
        let mut answer = json!({ "kind": "storage#objects" });
        answer["items"] = listed.objects.iter().map(message).collect();
        answer["prefixes"] = listed.prefixes.into();
        if let Some(next) = listed.next {
            answer["nextPageToken"] = next.into();
        }
        Ok(answer)
    }

    /// The message `Object`.
    pub(super) fn object_message(&self, bucket: &str, name: &str, stored: &Stored) -> Value {
        let base = &self.host().base;
        let (generation, at) = (stored.generation, timestamp(stored.created));
        let encoded =
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let mut message = json!({
            "kind": "storage#object", "id": format!("{bucket}/{name}/{generation}"),
            "selfLink": format!("{base}/storage/v1/b/{bucket}/o/{encoded}"),
            "mediaLink": format!("{base}/download/storage/v1/b/{bucket}/o/{encoded}?generation={generation}&alt=media"),
            "name": name, "bucket": bucket, "generation": generation.to_string(), "metageneration": "1",
            "storageClass": "STANDARD", "size": stored.bytes.len().to_string(), "crc32c": stored.crc32c(),
            "md5Hash": stored.md5_hash(),
            "etag": stored.etag(), "timeCreated": at, "updated": at, "timeStorageClassUpdated": at,
            "timeFinalized": at,
        });
        if !stored.kind.content_type.is_empty() {
            message["contentType"] = stored.kind.content_type.clone().into();
        }
        if !stored.kind.metadata.is_empty() {
            message["metadata"] = Value::Object(stored.kind.metadata.clone());
        }
        for (field, value) in &stored.kind.more {
            message[*field] = value.clone().into();
        }
        message
    }
}

fn conditions(call: &Call) -> Result<Conditions, Refusal> {
    Conditions::from_query(|name| Some(call.query(name).to_owned()).filter(|it| !it.is_empty()))
}

fn generation(call: &Call) -> Result<Option<i64>, Refusal> {
    match call.query("generation") {
        "" => Ok(None),
        text => {
            let parsed = text.parse().map(Some);
            parsed.map_err(|_| Refusal::Invalid("Invalid value for: generation".into()))
        }
    }
}

/// A page token that goes on after this name.
pub(super) fn token_after(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The name that a page token goes on after.
pub(super) fn page_token(token: &str) -> Result<Option<String>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some)
        .ok_or_else(|| Refusal::Invalid("Invalid page token.".into()))
}

/// As Cloud Storage spells times, to the millisecond.
pub(super) fn timestamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
