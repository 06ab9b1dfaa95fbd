//! Who is asking and may they: PKI, authentication, RBAC and Node authorization.
