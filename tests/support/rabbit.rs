//! A real RabbitMQ as a child of the test, as Debian has it: with a folder, a node name, ports and an epmd (Erlang's registry of
//! nodes) of its own, so that it neither meets nor disturbs another.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const EPMD: &str = "/usr/bin/epmd";
/// Of util-linux: what it starts is killed with its parent, however that ends.
const WITH_PARENT: [&str; 3] = ["/usr/bin/setpriv", "--pdeathsig", "KILL"];
/// Erlang takes its time on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A running RabbitMQ; ends when dropped.
pub struct Rabbit {
    folder: TempDir,
    port: u16,
    epmd_port: u16,
    distribution: u16,
    name: String,
    epmd: Option<Child>,
    server: Option<Child>,
}

impl Rabbit {
    /// One with an empty past.
    pub fn start() -> Rabbit {
        let free = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ports: Vec<TcpListener> = (0..3).map(free).collect();
        let port = |at: usize| ports[at].local_addr().unwrap().port();
        let (port, epmd_port, distribution) = (port(0), port(1), port(2));
        drop(ports);
        let folder = tempfile::tempdir().unwrap();
        let conf = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\nlog.console = true\n\
             log.console.level = error\nlog.file = false\nvm_memory_high_watermark.absolute = 2GB\n"
        );
        std::fs::write(folder.path().join("rabbitmq.conf"), conf).unwrap();
        std::fs::write(folder.path().join("enabled_plugins"), "[].\n").unwrap();
        let name = format!("stentor-{port}-{}@localhost", std::process::id());
        let mut rabbit = Rabbit { folder, port, epmd_port, distribution, name, epmd: None, server: None };
        let port = epmd_port.to_string();
        rabbit.epmd = Some(rabbit.begin(EPMD, &["-port", &port, "-address", "127.0.0.1"]));
        rabbit.wait_for("epmd", |rabbit| accepts(rabbit.epmd_port));
        rabbit.restart();
        rabbit
    }

    /// Where it is, for nodes.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a failing machine does.
    pub fn kill(&mut self) {
        self.wait_until_registered();
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it with what it had on its disk.
    pub fn restart(&mut self) {
        self.kill();
        self.server = Some(self.begin(SERVER, &[]));
        self.wait_for("RabbitMQ", |rabbit| greets(rabbit.port));
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// What it says to a command of `rabbitmqctl`.
    pub fn control(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        command.args(["-q", "-n", &self.name]).args(arguments);
        let output = self.environment(&mut command).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn begin(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(WITH_PARENT[0]);
        command.args(&WITH_PARENT[1..]).arg(program).args(arguments);
        let log = std::fs::File::create(self.folder.path().join("output")).unwrap();
        self.environment(&mut command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; install rabbitmq-server"))
    }

    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let folder = self.folder.path();
        let at = |name: &str| folder.join(name);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            // Where Erlang keeps its cookie.
            .env("HOME", folder)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Makes the script become the server, instead of staying above it.
            .env("RUNNING_UNDER_SYSTEMD", "yes")
            .env("RABBITMQ_CONF_ENV_FILE", at("rabbitmq-env.conf"))
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("config"))
            .env("RABBITMQ_SCHEMA_DIR", at("schema"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .current_dir(folder)
    }

    /// RabbitMQ 3.10 loses all streams if it is killed within seconds after it made the first: it writes down later who looks
    /// after them.
    fn wait_until_registered(&self) {
        let home = self.folder.path().join("mnesia").join(&self.name).join("coordination").join(&self.name);
        let begun = Instant::now();
        while home.join("names.dets").exists() && self.has_streams() {
            let names = std::fs::read(home.join("names.dets")).unwrap_or_default();
            let name = b"rabbit_stream_coordinator";
            if names.windows(name.len()).any(|part| part == name) {
                return;
            }
            assert!(begun.elapsed() < START, "RabbitMQ does not write down who looks after streams");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn has_streams(&self) -> bool {
        let streams = self.folder.path().join("mnesia").join(&self.name).join("stream");
        std::fs::read_dir(streams).is_ok_and(|mut streams| streams.next().is_some())
    }

    fn wait_for(&mut self, what: &str, ready: impl Fn(&Rabbit) -> bool) {
        let begun = Instant::now();
        while !ready(self) {
            let children = self.server.iter_mut().chain(self.epmd.iter_mut());
            let ended = children.filter_map(|child| child.try_wait().unwrap()).next();
            let is_late = begun.elapsed() > START;
            assert!(ended.is_none() && !is_late, "{what} does not start: {ended:?} {}", self.output());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(Path::new(self.folder.path()).join("output")).unwrap_or_default()
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        for mut child in self.server.take().into_iter().chain(self.epmd.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Listening comes before it serves, so this begins to shake hands.
fn greets(port: u16) -> bool {
    use std::io::Write as _;
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut first = [0];
    // It answers by a method frame, which has type 1.
    stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && stream.read_exact(&mut first).is_ok() && first[0] == 1
}
