//! Many nodes as one broker: messages travel by RabbitMQ.
