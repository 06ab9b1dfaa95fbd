//! The API server: chain, registry, watch cache, discovery; exposes a Router.
