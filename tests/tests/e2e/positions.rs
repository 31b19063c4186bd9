//! `after` is the position of a device: events after it are delivered again, confirmed events are not.

use pabal_tests::client::TransportPlan;
use pabal_tests::line::{Break, Line, ServerSentEvents, Transport};
use pabal_tests::node::Node;
use pabal_tests::wait;

use crate::stage::{cast, lines, read_events, refusal};

pub(crate) async fn resume_at_a_position(plan: TransportPlan) {
    let transports = match plan {
        TransportPlan::Steady(transport) => vec![transport],
        TransportPlan::Switching(..) => Transport::ALL.to_vec(),
    };
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    for transport in transports {
        let session = bob.open(None).await;
        for text in lines(6) {
            ann.say(channel, &text, None).await;
        }
        let all = read_events(transport, &bob, &session, 0, 6).await;
        assert_eq!(all.next, 6);
        let rest = match transport {
            // As browsers do: the URL keeps the old position, the header names the new one.
            Transport::Sse => {
                let sse = ServerSentEvents::open(&bob, &session, 0, Some(3)).await;
                let mut line = Line::Sse(Box::new(sse.expect("a stream")));
                wait::soon("the rest", line.read(3, wait::SOON)).await.expect("a batch")
            }
            _ => read_events(transport, &bob, &session, 3, 3).await,
        };
        assert_eq!(rest.events, all.events[3..], "{transport:?} repeats the same events");
        assert_eq!(rest.next, 6);
        // The first three are confirmed now, and a seventh was never sent.
        for wrong in [2, 7] {
            let refused = refusal(transport, &bob, &session, wrong).await;
            let Break::Refused(response) = refused else { panic!("{transport:?}: {refused}") };
            let status = response.status.as_u16();
            // A WebSocket's handshake may carry the status only.
            assert_eq!(status, 422, "{transport:?} after {wrong}");
            if transport != Transport::WebSocket {
                assert_eq!(response.code(), "invalid");
            }
        }
        let end = read_events(transport, &bob, &session, 6, 0).await;
        assert!(end.events.is_empty());
        bob.close(&session).await;
    }
}
