//! Many nodes as one broker: messages travel by RabbitMQ.

#[allow(dead_code, unused_imports)] // until it is wired
mod envelope;
#[allow(dead_code)] // until it is wired
mod names;
