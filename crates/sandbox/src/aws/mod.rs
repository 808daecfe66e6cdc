//! AWS: JSON protocols, signed requests, one folder or file per service.
