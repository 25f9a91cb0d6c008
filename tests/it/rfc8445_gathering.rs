//! Gathering, priorities and foundations. [RFC 8445 §5]
