//! WebSockets pass through, both ways, until one side has enough.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A daemon with a gateway before a service whose wire the test holds.
async fn before_a_wire(db: &TestDatabase) -> (Daemon, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    // Longer than any test waits: what ends sooner was ended.
    let table =
        format!("[gateways.live]\npath = \"/live\"\nupstream = {upstream:?}\ntimeout = \"10m\"\n");
    (DaemonPlan::on(db).server("grace = \"10m\"").toml(&table).start().await, listener)
}

/// Asks for a WebSocket, and has the first words of it sent at once. Gives both ends, and what the service was asked.
async fn ask(daemon: &Daemon, listener: &TcpListener) -> (TcpStream, TcpStream, String) {
    let mut client = TcpStream::connect(daemon.public()).await.unwrap();
    let head = "GET /live?room=1 HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut service, _) = within(PATIENCE, "a call", listener.accept()).await.unwrap();
    let asked = head_of(&mut service).await;
    (client, service, asked)
}

/// Reads up to the end of a head, in lower case.
async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    within(PATIENCE, "a head", async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

const AGREES: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

both_databases!(a_websocket_passes_bytes_both_ways, |db| async move {
    let (daemon, listener) = before_a_wire(&db).await;
    let (mut client, mut service, asked) = ask(&daemon, &listener).await;
    for part in [
        "get /live?room=1 http/1.1\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
    ] {
        assert!(asked.contains(part), "{part:?} is not in {asked:?}");
    }
    service.write_all(AGREES).await.unwrap();
    let agreed = head_of(&mut client).await;
    assert!(agreed.starts_with("http/1.1 101 "), "{agreed}");
    for part in
        ["\r\nupgrade: websocket\r\n", "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"]
    {
        assert!(agreed.contains(part), "{part:?} is not in {agreed:?}");
    }
    assert!(!agreed.contains("transfer-encoding"), "{agreed}");

    // More than the buffers of both sides hold, at once: neither direction waits for the other.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from_client, mut to_client) = (vec![0; large.len()], vec![0; large.len()]);
    let (client_hears, client_speaks) = client.split();
    let (service_hears, service_speaks) = service.split();
    let (mut client_hears, mut client_speaks) = (client_hears, client_speaks);
    let (mut service_hears, mut service_speaks) = (service_hears, service_speaks);
    within(PATIENCE, "six million bytes", async {
        futures::try_join!(
            client_speaks.write_all(&large),
            service_speaks.write_all(&large),
            client_hears.read_exact(&mut to_client),
            service_hears.read_exact(&mut from_client),
        )
    })
    .await
    .unwrap();
    assert!(from_client == large && to_client == large, "each byte, in order");

    // The service ends it: the client's connection ends as well.
    drop(service);
    let mut rest = Vec::new();
    within(PATIENCE, "the end", client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
});

both_databases!(a_client_that_goes_ends_the_services_end, |db| async move {
    let (daemon, listener) = before_a_wire(&db).await;
    let (mut client, mut service, _) = ask(&daemon, &listener).await;
    service.write_all(AGREES).await.unwrap();
    head_of(&mut client).await;
    client.write_all(b"bye").await.unwrap();
    drop(client);
    let mut heard = Vec::new();
    within(PATIENCE, "the end", service.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"bye");
});

both_databases!(a_service_that_wants_no_websocket_says_so_itself, |db| async move {
    let (daemon, listener) = before_a_wire(&db).await;
    let (mut client, mut service, _) = ask(&daemon, &listener).await;
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    service.write_all(refusal).await.unwrap();
    let mut answer = Vec::new();
    within(PATIENCE, "the refusal", client.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 403 ") && answer.ends_with("\r\n\r\nno"), "{answer}");
    assert!(!answer.contains("upgrade: websocket"), "{answer}");
});

both_databases!(a_shutdown_closes_websockets_and_says_so_between_two_frames, |db| async move {
    let (mut daemon, listener) = before_a_wire(&db).await;
    let mut open = Vec::new();
    // The service has said nothing, a whole frame, the beginning of a head, half a frame, its own last word.
    for said in [&b""[..], b"\x81\x02hi", b"\x82", b"\x82\x7e\x01\x00abc", b"\x88\x02\x03\xe8"] {
        let (mut client, mut service, _) = ask(&daemon, &listener).await;
        service.write_all(AGREES).await.unwrap();
        head_of(&mut client).await;
        service.write_all(said).await.unwrap();
        let mut heard = vec![0; said.len()];
        within(PATIENCE, "what was said", client.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, said);
        open.push((client, service, said));
    }
    daemon.ask_to_stop();
    for (mut client, mut service, said) in open {
        let (mut rest, mut from_client) = (Vec::new(), Vec::new());
        // A connection may be reset, as long as it ends.
        let ends = async {
            let ended = futures::join!(
                client.read_to_end(&mut rest),
                service.read_to_end(&mut from_client),
            );
            if said.is_empty() || said == b"\x81\x02hi" {
                ended.0.unwrap();
            }
        };
        within(PATIENCE, "the end of both connections", ends).await;
        let told = said.is_empty() || said == b"\x81\x02hi";
        assert_eq!(rest, if told { &b"\x88\x02\x03\xe9"[..] } else { b"" }, "{said:?}");
        assert_eq!(from_client, b"");
    }
    assert!(daemon.wait_for_end().await.success(), "{}", daemon.log());
});
