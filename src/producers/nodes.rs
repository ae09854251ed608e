//! The nodes that are one broker, as `/topic/nodes` and `GET /api/v1/nodes` show them.
//!
//! Owns the form. Who is there is known to the backend that joins them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

/// One node, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub node: String,
    /// What tells this start of it from all others, in hexadecimal digits.
    pub incarnation: String,
    /// Its program's version.
    pub version: String,
    /// Open connections of clients.
    pub connections: i64,
    /// When it started, in milliseconds since 1970.
    pub since: u64,
    /// As `/health` says it: `starting`, `ok`, `degraded`, `draining`.
    pub status: String,
}

/// All nodes that are heard of, this one included.
#[derive(Clone)]
pub struct Nodes(Arc<dyn Fn() -> Vec<NodeView> + Send + Sync>);

impl Nodes {
    /// Those that `list` gives, whenever it is asked.
    pub fn new(list: impl Fn() -> Vec<NodeView> + Send + Sync + 'static) -> Nodes {
        Nodes(Arc::new(list))
    }

    /// `{"nodes":[…]}`, in the order of their names.
    pub fn json(&self) -> Bytes {
        #[derive(Serialize)]
        struct All {
            nodes: Vec<NodeView>,
        }
        let mut nodes = (self.0)();
        nodes.sort_unstable_by(|one, other| {
            (&one.node, &one.incarnation).cmp(&(&other.node, &other.incarnation))
        });
        // Numbers and texts can't fail to serialise.
        serde_json::to_vec(&All { nodes }).unwrap_or_default().into()
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nodes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_in_the_order_of_their_names() {
        let view = |node: &str| NodeView {
            node: node.to_owned(),
            incarnation: "0000002a".to_owned(),
            version: "1".to_owned(),
            connections: 3,
            since: 5,
            status: "ok".to_owned(),
        };
        let json = Nodes::new(move || vec![view("b"), view("a")]).json();
        let one = |node: &str| {
            format!(
                r#"{{"node":"{node}","incarnation":"0000002a","version":"1","connections":3,"since":5,"status":"ok"}}"#
            )
        };
        assert_eq!(json, format!(r#"{{"nodes":[{},{}]}}"#, one("a"), one("b")));
    }
}
