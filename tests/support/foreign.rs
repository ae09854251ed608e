//! Another user of RabbitMQ: an AMQP client that knows nothing of nodes.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use super::Rabbit;

/// Publishes with confirms.
pub struct Foreign {
    connection: Connection,
    channel: Channel,
}

impl Foreign {
    pub async fn connect(rabbit: &Rabbit) -> Foreign {
        let connection = Connection::connect(&rabbit.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Foreign { connection, channel }
    }

    /// Publishes, and waits until RabbitMQ has it.
    pub async fn publish(&self, exchange: &str, key: &str, body: &str) {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let sent =
            self.channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties);
        assert!(sent.await.unwrap().await.unwrap().is_ack());
    }

    /// Makes an exchange of topics.
    pub async fn exchange(&self, name: &str) {
        let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
        self.channel.exchange_declare(name.into(), ExchangeKind::Topic, options, table).await.unwrap();
    }

    /// Deletes a queue or stream with all that it has.
    pub async fn delete(&self, queue: &str) {
        let channel = self.connection.create_channel().await.unwrap();
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}
