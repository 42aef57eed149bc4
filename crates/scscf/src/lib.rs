//! The S-CSCF as a value: the procedures of TS 24.229 §5.4 over one private user identity.
