//! What a request must satisfy after it is authorized: mutating and validating admission.
