//! Certificates of the user's own: who shows one for the cluster is a member, and nobody else.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use cluster::load::Load;
use cluster::papers::{Authority, DAY, Files, Paper};
use cluster::told::Told;
use cluster::turned_away::{LOG, has_turned_away, logs, logs_times, trouble_of};
use cluster::{Cluster, on_loopback, until};
use flushcast::discovery::Fixed;
use flushcast::{ChangeSecretError, Node, Secret, Tls};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn in_days(days: u32) -> SystemTime {
    SystemTime::now() + DAY * days
}

fn days_ago(days: u32) -> SystemTime {
    SystemTime::now() - DAY * days
}

async fn member(files: &Files, name: &str) -> Node {
    let builder = Node::builder("test").listen(on_loopback(0)).tls(files.tls()).name(name);
    builder.start().await.unwrap()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    Arc::new(roots)
}

/// Dials a node with a certificate; gives back what is heard of it.
async fn dial_with(at: SocketAddr, authority: &Authority, paper: Option<Paper>) -> String {
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots(authority));
    let client = match paper {
        Some(paper) => client.with_client_auth_cert(vec![paper.certificate], paper.key).unwrap(),
        None => client.with_no_client_auth(),
    };
    let socket = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("test").unwrap();
    match TlsConnector::from(Arc::new(client)).connect(name, socket).await {
        Ok(mut stream) => stream.read(&mut [0]).await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

/// A server with a certificate that asks for another, for as long as the test runs.
async fn server_with(authority: &Authority, paper: Paper) -> SocketAddr {
    let asks = WebPkiClientVerifier::builder_with_provider(roots(authority), provider());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(asks.build().unwrap())
        .with_single_cert(vec![paper.certificate], paper.key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind(on_loopback(0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = acceptor.accept(socket).await;
        }
    });
    at
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[tokio::test]
async fn members_of_one_authority_flush_each_other_and_show_when_their_certificates_expire() {
    let authority = Authority::new();
    let mut cluster = Cluster::new();
    for days in [90, 80, 70] {
        let files = Files::of(&authority.text(), &authority.sign("test", in_days(days)));
        let node = cluster.join_with(|builder| builder.tls(files.tls())).await;
        let left = node.certificate_expires().unwrap().duration_since(SystemTime::now());
        assert_eq!(left.unwrap().as_secs().div_ceil(DAY.as_secs()), u64::from(days));
    }
    cluster.all_linked().await;
    for (number, cache) in cluster.caches().iter().enumerate() {
        let outcome = cache.flush(&number.to_string()).await.unwrap();
        assert!(outcome.is_complete() && outcome.applied.len() == 2, "{outcome}");
    }
    for peer in cluster.nodes[0].peers() {
        let of = cluster.nodes.iter().find(|node| Some(node.name()) == peer.name.as_deref());
        assert_eq!(peer.certificate_expires, of.unwrap().certificate_expires());
        assert!(peer.certificate_expires.is_some());
    }
    let error = cluster.nodes[0].change_secret(Secret::new([b'x'; 32]).unwrap()).unwrap_err();
    assert!(matches!(error, ChangeSecretError::NoSecret));
}

#[tokio::test]
async fn who_dials_with_another_certificate_or_none_is_turned_away_and_hears_why() {
    LazyLock::force(&LOG);
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.text(), &authority.sign("test", in_days(90)));
    let member = member(&files, "dialled").await;
    let at = member.local_address();
    for (paper, heard, told) in [
        (Some(other.sign("test", in_days(90))), "DecryptError", "of another secret or authority"),
        (Some(authority.sign("test", days_ago(1))), "CertificateExpired", "has expired"),
        (Some(authority.sign("bank", in_days(90))), "BadCertificate", "does not carry its name"),
        (None, "CertificateRequired", "it shows no certificate"),
    ] {
        let before = member.turned_away();
        let hears = dial_with(at, &authority, paper).await;
        assert!(hears.contains(heard), "{hears}");
        has_turned_away(&member, before + 1).await;
        logs("dialled", told).await;
        assert!(member.peers().is_empty());
    }
    // What a version before 1.3 begins with: no extension says that it knows another.
    let mut hello = vec![22, 3, 1, 0, 57, 1, 0, 0, 53, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 10, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
    let mut stream = TcpStream::connect(at).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "a fatal alert: protocol_version");
    logs("dialled", "it does not speak TLS 1.3").await;
}

#[tokio::test]
async fn who_answers_with_another_certificate_is_not_followed_and_not_taken_for_dead() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (paper, told) in [
        (other.sign("test", in_days(90)), "of another secret or authority"),
        (authority.sign("test", days_ago(1)), "has expired"),
        (authority.sign("bank", in_days(90)), "does not carry its name"),
    ] {
        let at = server_with(&authority, paper).await;
        let files = Files::of(&authority.text(), &authority.sign("test", in_days(90)));
        let builder = Node::builder("test").listen(on_loopback(0)).tls(files.tls());
        let node = builder.discovery(Fixed::new([at])).start().await.unwrap();
        let trouble = trouble_of(&node).await;
        assert!(trouble.contains(told), "{trouble}");
        let _copies = cluster::bounded(&node);
        until(&node, |_| !node.in_sync()).await;
    }
    // One of a node that has a secret, and one that has none at all.
    let files = Files::of(&authority.text(), &authority.sign("test", in_days(90)));
    let member = member(&files, "member").await;
    for (builder, told) in [
        (Node::builder("test").secret(Secret::new([b'x'; 32]).unwrap()), "another secret or"),
        (Node::builder("test"), "it speaks TLS, and this node does not"),
    ] {
        let found = Fixed::new([member.local_address()]);
        let node = builder.listen(on_loopback(0)).discovery(found).start().await.unwrap();
        let trouble = trouble_of(&node).await;
        assert!(trouble.contains(told), "{trouble}");
    }
}

#[tokio::test]
async fn what_peers_would_refuse_is_refused_at_the_start_with_the_file_that_is_wrong() {
    let authority = Authority::new();
    let good = || authority.sign("test", in_days(90));
    let files = |paper: &Paper| Files::of(&authority.text(), paper);
    let write = |files: Files, name: &str, text: &str| {
        std::fs::write(files.path(name), text).unwrap();
        files
    };
    for (files, told) in [
        (files(&authority.sign("test", days_ago(1))), "node.pem: it has expired"),
        (files(&authority.sign("bank", in_days(1))), "it does not carry the name \"test\""),
        (files(&Authority::new().sign("test", in_days(1))), "node.pem: it is"),
        (write(files(&good()), "node.key", &good().key_text), "node.key do not go together"),
        (
            write(files(&good()), "node.key", "junk"),
            "node.key has no private key, or an encrypted one, in PEM",
        ),
        (
            write(files(&good()), "node.pem", ""),
            "node.pem has no certificate, or one that is not whole, in PEM",
        ),
        (
            write(
                files(&good()),
                "ca.pem",
                &format!("{}{}", authority.text().trim(), authority.text()),
            ),
            "ca.pem has no certificate, or one that is not whole",
        ),
        (write(files(&good()), "ca.pem", &"x".repeat(300_000)), "ca.pem: it has more than"),
    ] {
        let builder = Node::builder("test").listen(on_loopback(0)).tls(files.tls());
        let error = builder.start().await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let missing = Tls::from_files("/nowhere/ca.pem", "/nowhere/node.pem", "/nowhere/node.key");
    let error = Node::builder("test").listen(on_loopback(0)).tls(missing).start().await;
    assert!(error.unwrap_err().to_string().contains("cannot read /nowhere/ca.pem"));
    // A cluster whose name no certificate can carry says which one they do.
    let files = files(&authority.sign("cache.example", in_days(90)));
    let builder = || Node::builder("my cluster!").listen(on_loopback(0));
    let error = builder().tls(files.tls()).start().await.unwrap_err().to_string();
    assert!(error.contains(".name(\"cache.example\")"), "{error}");
    builder().tls(files.tls().name("cache.example")).start().await.unwrap();
}

#[tokio::test]
async fn files_that_do_not_fit_leave_those_before_in_use_and_expiry_is_warned_of() {
    LazyLock::force(&LOG);
    let authority = Authority::new();
    let files = Files::of(&authority.text(), &authority.sign("test", in_days(13)));
    let node = member(&files, "renewed").await;
    logs("renewed", "expires in 12 days and 23 hours").await;
    std::fs::write(files.path("node.pem"), "half a fi").unwrap();
    logs("renewed", "the former certificates stay in use").await;
    let other = Files::of(&authority.text(), &authority.sign("test", in_days(90)));
    let found = Fixed::new([node.local_address()]);
    let other = Node::builder("test").listen(on_loopback(0)).tls(other.tls()).discovery(found);
    let other = other.start().await.unwrap();
    until(&other, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
    files.show(&authority.sign("test", in_days(80)));
    logs("renewed", "the certificates in the files are in use").await;
    let left = node.certificate_expires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > DAY * 79);
    // The link is made anew, so that the other end knows.
    let is_new = |peer: &flushcast::Peer| peer.certificate_expires > Some(in_days(79));
    until(&other, |peers| peers.iter().any(|peer| peer.is_linked() && is_new(peer))).await;
}

/// Each authority gives way to the next: trusted by all, then shown by all, then the only one.
#[tokio::test]
async fn authorities_are_replaced_under_load_and_nothing_is_missed() {
    LazyLock::force(&LOG);
    let (old, new) = (Authority::new(), Authority::new());
    let mut cluster = Cluster::new();
    let mut files = Vec::new();
    for _ in 0..3 {
        let of = Files::of(&old.text(), &old.sign("test", in_days(90)));
        let name = format!("replaced {}", files.len());
        cluster.join_with(|builder| builder.tls(of.tls()).name(name)).await;
        files.push(of);
    }
    cluster.all_linked().await;
    let told: Vec<_> = cluster.nodes.iter().map(Told::by).collect();
    let load = Load::on(&cluster.nodes[0]);
    let both = format!("{}{}", old.text(), new.text());
    let papers: Vec<_> = (0..3).map(|_| new.sign("test", in_days(80))).collect();
    for step in 0..3 {
        for (files, paper) in files.iter().zip(&papers) {
            match step {
                0 => files.trust(&both),
                1 => files.show(paper),
                _ => files.trust(&new.text()),
            }
        }
        // Each step is done on all nodes before the next.
        for node in &cluster.nodes {
            logs_times(node.name(), "the certificates in the files are in use", step + 1).await;
        }
        // Whoever comes with what counts from now on gets a link with all.
        let authority = if step == 0 { &old } else { &new };
        let late = Files::of(&both, &authority.sign("test", in_days(1)));
        let joined = cluster.join_with(|builder| builder.tls(late.tls())).await;
        cluster.all_linked().await;
        cluster.unlist(joined.local_address());
        cluster.nodes.pop();
        joined.shutdown().await.unwrap();
    }
    // Links that the old authority had let in are made anew, without a word of the old one.
    for node in &cluster.nodes {
        let is_renewed = |peer: &flushcast::Peer| {
            peer.is_linked() && peer.certificate_expires.is_some_and(|at| at < in_days(85))
        };
        until(node, |peers| peers.len() == 2 && peers.iter().all(is_renewed)).await;
    }
    load.end().await;
    for told in told {
        assert_eq!(told.distrusted(), 0, "{}", told.text());
    }
}
