//! The words of the API: kinds, metadata, selectors, quantities, schemas, patches and errors, as pure functions.
