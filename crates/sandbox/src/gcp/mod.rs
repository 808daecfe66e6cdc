//! Google Cloud: REST/JSON, bearer tokens, one folder or file per service.
