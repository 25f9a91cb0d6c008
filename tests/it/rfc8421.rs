//! Multihomed and dual-stack fairness. [RFC 8421]
