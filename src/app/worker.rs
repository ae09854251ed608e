//! What each worker thread is made of: a hub, the doors, and the services in front of them.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::ready;
use std::hash::RandomState;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use actix_service::{Service as _, ServiceFactory, fn_service};
use actix_web::{App, HttpResponse, web};
use sockjs::server::{Connections, Http};
use sockjs::{Elsewhere, SockJs};
use tokio::net::TcpStream;

use super::requests::Requests;
use crate::broker::{Broker, Destination, Mailbox, Worker};
use crate::config::{AllowedOrigins, Config};
use crate::frontends::app::Handlers;
use crate::frontends::forwarding::Forwarding;
use crate::frontends::rest::{self, Api};
use crate::frontends::stomp::{self, HeartBeats, IncompleteFrames, StompDoor, TransactionLimits};
use crate::frontends::{dashboard, health};
use crate::producers::figures::Figures;
use crate::producers::nodes::Nodes;
use crate::telemetry::health::{Health, Status};

/// Where SockJS and raw WebSockets are.
const SOCKJS: &str = "/ws";

/// What all workers share.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) broker: Arc<Broker>,
    pub(super) figures: Arc<Figures>,
    pub(super) handlers: Arc<Handlers>,
    pub(super) connections: Connections,
    pub(super) requests: Requests,
    pub(super) health: Arc<Health>,
    /// Where figures are shown, and where events are taken in.
    pub(super) metrics: Destination,
    pub(super) events: Destination,
    /// The nodes that are one broker, and where they are shown.
    pub(super) nodes: Nodes,
    pub(super) nodes_topic: Destination,
    /// The way to other nodes' sessions, if there are other nodes.
    pub(super) forwarding: Option<Arc<Forwarding>>,
}

/// Makes workers, one for each thread that asks.
#[derive(Clone)]
pub(super) struct Workers {
    doors: Arc<Doors>,
    sockjs: SockJs,
    max_body: usize,
}

/// What STOMP doors are made of.
struct Doors {
    parts: Parts,
    mailboxes: Mutex<Vec<Mailbox>>,
    limits: Arc<stomp_parser::Limits>,
    incomplete: Arc<IncompleteFrames>,
    heart_beats: HeartBeats,
    subscriptions: usize,
    transactions: TransactionLimits,
    sockjs_beat: u32,
}

thread_local! {
    /// The door of this thread's worker. A worker thread serves one server, on all addresses that it listens on.
    static DOOR: OnceCell<Option<Rc<StompDoor>>> = const { OnceCell::new() };
}

impl Workers {
    pub(super) fn new(parts: Parts, config: &Config, mailboxes: Vec<Mailbox>) -> Workers {
        let limits = stomp_parser::Limits {
            headers: config.stomp.max_headers,
            line: config.stomp.max_line.get(),
            header_bytes: config.stomp.max_header_bytes.get(),
            body: config.stomp.max_body.get(),
        };
        let millis = |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let incomplete =
            IncompleteFrames::at_most(config.limits.incomplete_frames.get(), parts.broker.metrics().clone());
        let forwarding = parts.forwarding.clone();
        let doors = Arc::new(Doors {
            parts,
            incomplete,
            mailboxes: Mutex::new(mailboxes),
            limits: Arc::new(limits),
            heart_beats: HeartBeats {
                can: millis(config.stomp.heart_beat_send),
                wants: millis(config.stomp.heart_beat_want),
            },
            subscriptions: config.stomp.max_subscriptions,
            transactions: TransactionLimits {
                open: config.stomp.max_transactions,
                frames: config.stomp.max_transaction_frames,
                bytes: config.stomp.max_transaction_bytes.get(),
            },
            sockjs_beat: millis(config.sockjs.heartbeat),
        });
        let behind = doors.clone();
        let sockjs = SockJs::new(move |session| {
            let door = behind.door();
            async move {
                if let Some(door) = door {
                    stomp::serve(session, door).await;
                }
            }
        });
        let elsewhere = forwarding.clone().map(|forwarding| forwarding as Arc<dyn Elsewhere>);
        let sockjs = sockjs.config(sockjs::Config { elsewhere, ..sockjs_config(config, limits) });
        if let Some(forwarding) = forwarding {
            forwarding.join(&sockjs);
        }
        Workers { doors, sockjs, max_body: config.limits.max_request_body.get() }
    }

    /// The SockJS service of all of them.
    pub(super) fn sockjs(&self) -> &SockJs {
        &self.sockjs
    }

    /// The service for STOMP over plain TCP, for connections of one address on this thread. One that comes while the node
    /// drains is closed at once.
    pub(super) fn tcp_service(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Infallible, InitError = ()> + use<>
    {
        let door = self.doors.door();
        let Parts { connections, health, .. } = self.doors.parts.clone();
        fn_service(move |tcp| {
            if let Some(door) = door.as_ref().filter(|_| health.status() != Status::Draining) {
                stomp::accept(tcp, &connections, door.clone());
            }
            ready(Ok::<_, Infallible>(()))
        })
    }

    /// The service for HTTP connections of one address on this thread.
    pub(super) fn service(
        &self,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = actix_http::error::DispatchError,
        InitError = (),
    > + use<> {
        let Parts {
            broker, figures, connections, requests, health, metrics, events, nodes, nodes_topic, ..
        } = self.doors.parts.clone();
        // Made before the first connection, so that the worker's part of the broker is there from the start.
        self.doors.door();
        let api = Api {
            broker: broker.clone(),
            figures,
            metrics,
            events,
            nodes,
            nodes_topic,
            max_body: self.max_body,
            frames: self.doors.limits.clone(),
        };
        let sockjs = self.sockjs.clone();
        let app = App::new()
            .wrap_fn(move |request, app| {
                let under_way = requests.begin();
                let answer = app.call(request);
                async move { answer.await.map(|response| under_way.until_answered(response)) }
            })
            .service(self.sockjs.mount(SOCKJS))
            .configure(|config| rest::routes(config, api))
            .configure(|config| health::routes(config, health))
            .route("/metrics", web::get().to(move || own_metrics(broker.clone(), sockjs.clone())))
            .configure(dashboard::routes);
        Http::new().connections(&connections).take(SOCKJS, &self.sockjs).serve(app)
    }
}

impl Doors {
    /// This thread's door, with a worker behind it. `None` if more threads ask than there are workers, which they
    /// don't.
    fn door(&self) -> Option<Rc<StompDoor>> {
        DOOR.with(|door| {
            door.get_or_init(|| {
                let mailbox = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
                Some(Rc::new(StompDoor {
                    worker: Worker::start(self.parts.broker.clone(), mailbox),
                    handlers: self.parts.handlers.clone(),
                    limits: self.limits.clone(),
                    incomplete: self.incomplete.clone(),
                    heart_beats: self.heart_beats,
                    subscriptions: self.subscriptions,
                    transactions: self.transactions,
                    secrets: RandomState::new(),
                    sockjs_beat: self.sockjs_beat,
                }))
            })
            .clone()
        })
    }
}

fn sockjs_config(config: &Config, limits: stomp_parser::Limits) -> sockjs::Config {
    let cookies: Vec<String> =
        config.sockjs.credential_cookies.iter().map(|name| name.as_str().to_owned()).collect();
    sockjs::Config {
        websocket: config.sockjs.websocket,
        heartbeat: config.sockjs.heartbeat,
        session_timeout: config.sockjs.session_timeout,
        response_limit: config.sockjs.response_limit.get(),
        origins: match config.origins() {
            AllowedOrigins::Any => sockjs::Origins::Any,
            AllowedOrigins::Only(origins) => {
                sockjs::Origins::only(origins.iter().map(|origin| origin.as_str()))
            }
        },
        // A frame of the largest permitted size passes: command, headers, body and NUL.
        max_message: limits.body + limits.header_bytes + limits.line + 64,
        subprotocols: ["v12.stomp", "v11.stomp", "v10.stomp"].map(str::to_owned).to_vec(),
        close_timeout: config.outbox.close_timeout,
        max_sessions: config.sockjs.max_sessions,
        cookie_needed: config.sockjs.cookie_needed,
        base_url: config.sockjs.base_url.as_ref().map(ToString::to_string),
        sockjs_url: script_url(config),
        iframe_and_jsonp: config.sockjs.iframe_and_jsonp.then_some(true),
        credential_cookies: (!cookies.is_empty()).then_some(cookies),
        trusted_proxies: config.trusted_proxies.clone(),
        ..sockjs::Config::default()
    }
}

/// Where the iframe page finds sockjs-client; nowhere in a program that was built without it.
fn script_url(config: &Config) -> Option<String> {
    let own = || dashboard::has(dashboard::SOCKJS_SCRIPT).then(|| format!("../{}", dashboard::SOCKJS_SCRIPT));
    config.sockjs.script_url.as_ref().map(ToString::to_string).or_else(own)
}

async fn own_metrics(broker: Arc<Broker>, sockjs: SockJs) -> HttpResponse {
    broker.metrics().http_sessions.set(sockjs.http_sessions() as i64);
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(broker.metrics().render())
}
