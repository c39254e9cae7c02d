//! The function behind API Gateway.

fn main() {}
