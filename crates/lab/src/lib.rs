//! What stands around an S-CSCF: HSS, UE, load generator.
