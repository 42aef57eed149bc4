//! RFC 3680 §5 — registration information documents.
