//! The end of all sessions: who is told when, and what is done until then.

use super::*;

/// So many of these sessions were told to go.
fn told(wires: &[Wire]) -> usize {
    wires.iter().filter(|wire| wire.text().ends_with("[F shutdown]")).count()
}

fn open(bench: &Bench, count: usize) -> Vec<Wire> {
    let wires: Vec<Wire> = (0..count).map(|_| Wire::with_room(usize::MAX)).collect();
    for wire in &wires {
        bench.open(wire);
    }
    wires
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn many_are_told_evenly_a_thousand_in_a_second() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wires = open(&bench, 2000);
        bench.broker.close(&CloseReason::Shutdown, 60 * SECOND).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!((1..100).contains(&told(&wires)), "{} at once", told(&wires));
        let mut before = 0;
        for tenth in 1..20 {
            tokio::time::sleep(SECOND / 10).await;
            let now = told(&wires);
            assert!(now.abs_diff(tenth * 100) < 40, "{now} after {tenth} tenths of a second");
            assert!(now > before);
            before = now;
        }
        tokio::time::sleep(SECOND / 10).await;
        assert_eq!(told(&wires), 2000);
    });
}

#[test]
fn where_time_is_short_more_go_together() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wires = open(&bench, 2000);
        bench.broker.close(&CloseReason::Shutdown, SECOND / 10).await;
        tokio::time::sleep(SECOND / 20).await;
        assert!((800..1400).contains(&told(&wires)), "{} in the first half", told(&wires));
        tokio::time::sleep(SECOND / 20 + Duration::from_millis(10)).await;
        assert_eq!(told(&wires), 2000);
    });
}

#[test]
fn one_is_told_at_once_and_who_comes_then_too() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wires = open(&bench, 1);
        bench.broker.close(&CloseReason::Shutdown, 60 * SECOND).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(told(&wires), 1);
        assert_eq!(told(&open(&bench, 1)), 1);
    });
}

#[test]
fn until_it_is_told_a_session_goes_on_and_gets_what_it_was_given() {
    run(async {
        let bench = Bench::new(Limits::default());
        let _others = open(&bench, 1000);
        let wire = Wire::with_room(usize::MAX);
        let key = bench.open(&wire);
        bench.broker.close(&CloseReason::Shutdown, 60 * SECOND).await;
        turns().await;
        bench.subscribe(key, "s", "/topic/t").await;
        bench.publish("/topic/t", "one").await;
        tokio::time::sleep(SECOND / 2).await;
        bench.publish("/topic/t", "two").await;
        tokio::time::sleep(SECOND).await;
        bench.publish("/topic/t", "three").await;
        turns().await;
        assert_eq!(wire.text(), "[Rs][Ms one][Ms two][F shutdown]");
    });
}

#[test]
fn the_sessions_are_counted_until_they_have_gone() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(usize::MAX);
        let key = bench.open(&wire);
        assert_eq!(bench.broker.sessions(), 1);
        bench.broker.close(&CloseReason::Shutdown, SECOND).await;
        turns().await;
        assert_eq!(bench.broker.sessions(), 1, "it has not closed yet");
        bench.worker.remove(key, CloseReason::Gone);
        bench.worker.remove(key, CloseReason::Gone);
        assert_eq!(bench.broker.sessions(), 0);
    });
}

fn consume(bench: &Bench, session: SessionKey, id: &str) {
    let subscription = Subscription { id: id.into(), ack: AckMode::ClientIndividual };
    let terms = ConsumerTerms { subscription, receipt: None, prefetch: None, selector: None };
    let queue = Destination::parse(Tenant::DEFAULT, "/queue/q".into()).unwrap();
    bench.worker.consume(&Identity::anonymous(), session, queue, terms).unwrap();
}

/// One that would be given to the next, and the next, is tried too often before anybody could do it.
#[test]
fn what_a_consumer_gives_back_is_not_given_to_the_next_who_is_to_go() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (first, later, last) =
            (Wire::with_room(usize::MAX), Wire::with_room(usize::MAX), Wire::with_room(usize::MAX));
        consume(&bench, bench.open(&first), "first");
        bench.publish("/queue/q", "work").await;
        turns().await;
        assert_eq!(first.text(), "[Mfirst work]");
        let _others = open(&bench, 1000);
        consume(&bench, bench.open(&later), "later");
        let key = bench.open(&last);
        bench.broker.close(&CloseReason::Shutdown, 60 * SECOND).await;
        turns().await;
        assert!(first.text().ends_with("[F shutdown]"));
        consume(&bench, key, "last");
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!((later.text(), last.text()), (String::new(), String::new()));
        tokio::time::sleep(SECOND).await;
        assert_eq!((later.text(), last.text()), ("[F shutdown]".into(), "[F shutdown]".into()));
    });
}
