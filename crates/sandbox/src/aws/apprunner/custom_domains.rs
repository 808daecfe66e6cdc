//! Custom domains of services.
