//! How a container starts, comes back, leaves and ends.

use std::time::{Duration, Instant};

use skysail_rpc::message::{Message, RejectReason};

use super::rows::{expect, list, numbers, rows};
use super::{ALL, CONNECTIONS, Line, steps};
use crate::Transport;
use crate::process::Ending;
use crate::scene::{Result, Scene, TOKEN, quiet, timing};
use crate::wrong::{Wrong, suite};

/// `suite-slow-load` loads for this long.
const LOAD: Duration = Duration::from_millis(1500);
/// What `suite-crash-load` fails with.
const NO_WEIGHTS: &str = "no weights here";
/// The file that `suite-files` reads.
const FILE: &str = "factor.txt";
/// What refusals say, to be found in the log.
const DETAIL: &str = "says the suite";

#[rustfmt::skip]
pub(super) fn table() -> [Line; 25] {
    [
        ("slow-load", "4.7", "says hello only when the model is loaded, however long that takes", CONNECTIONS, steps!(slow_load)),
        ("crash-in-load", "4.1", "a model that does not load: one line that says why, exit status 1, no hello", CONNECTIONS, steps!(crash_in_load)),
        ("model-files", "4.1", "finds its files in the folder of --path", CONNECTIONS, steps!(model_files)),
        ("missing-model-files", "4.1", "a missing file: one line that names it, exit status 1 or 2, no hello", CONNECTIONS, steps!(missing_model_files)),
        ("join-token", "4.4", "the content of --token-file, without white space around it", &[Transport::Tcp], steps!(join_token)),
        ("refused-bad-token", "4.8", "an error exit status, and what the front end says", CONNECTIONS, steps!(refused_bad_token)),
        ("refused-wrong-schema", "4.8", "an error exit status, and what the front end says", CONNECTIONS, steps!(refused_wrong_schema)),
        ("refused-bad-hello", "4.8", "an error exit status, and what the front end says", CONNECTIONS, steps!(refused_bad_hello)),
        ("refused-version", "4.8", "an error exit status, and what the front end says", CONNECTIONS, steps!(refused_version)),
        ("refused-removed", "4.8", "exit status 0", CONNECTIONS, steps!(refused_removed)),
        ("refused-overloaded", "4.8", "comes again", CONNECTIONS, steps!(refused_overloaded)),
        ("refused-too-many", "4.8", "comes again", CONNECTIONS, steps!(refused_too_many)),
        ("removed-while-serving", "7.3", "exit status 0", ALL, steps!(removed_while_serving)),
        ("violation-while-serving", "7.3", "an error exit status, and what the front end says", ALL, steps!(violation_while_serving)),
        ("heartbeats-while-idle", "6.1", "heartbeats, which count the batches of this session", ALL, steps!(heartbeats_while_idle)),
        ("long-predict", "6.2", "computes for longer than silence may last, and goes on", ALL, steps!(long_predict)),
        ("silent-front-end", "6.2", "gives a silent front end up, and comes back", ALL, steps!(silent_front_end)),
        ("front-end-restarted", "4.8", "comes back to an endpoint that was closed: new session, ids anew", ALL, steps!(front_end_restarted)),
        ("restarted-with-a-batch", "4.8", "the same with a batch in hand, whose reply is not sent to the new session", ALL, steps!(restarted_with_a_batch)),
        ("drain-and-back", "7.1", "answers what it has, closes, opens another session", ALL, steps!(drain_and_back)),
        ("leave", "7.2", "SIGTERM: drains, exit status 0", ALL, steps!(leave)),
        ("leave-with-batches", "7.2", "SIGTERM with batches in hand: answers them, drains, exit status 0", ALL, steps!(leave_with_batches)),
        ("leave-while-away", "7.2", "SIGTERM while no front end listens: exit status 0", CONNECTIONS, steps!(leave_while_away)),
        ("killed", "1.4", "SIGKILL: the front end sees the session end", ALL, steps!(killed)),
        ("no-shared-memory", "8.3", "an offer that leads nowhere: the session stays on its connection", &[Transport::Shm], steps!(no_shared_memory)),
    ]
}

/// The container has ended as it should.
fn ended(expected: Ending, found: Ending) -> Result {
    if expected == found {
        return Ok(());
    }
    Err(format!("it {found}, expected is one that {expected}").into())
}

async fn slow_load(scene: &mut Scene) -> Result {
    let started = Instant::now();
    scene.start("suite-slow-load", &[])?;
    let hello = scene.hello().await?;
    let after = started.elapsed();
    if after < LOAD {
        let (after, load) = (after.as_millis(), LOAD.as_millis());
        return Err(format!("it said hello after {after} ms, its model takes {load} ms").into());
    }
    // Within the time of the handshake: what took long is the past.
    crate::models::check("suite-slow-load", &hello)?;
    scene.reject(RejectReason::Overloaded, "once more")?;
    scene.serve("suite-slow-load", quiet()).await?;
    let y = numbers::<f32>(&scene.ask(&rows(&[1.5_f32])).await?, 0)?;
    expect("y", &vec![1.5], &y)
}

/// The container ends without a hello, and its log has a line with `text`.
async fn ends_unheard(scene: &mut Scene, text: &str) -> Result<Ending> {
    let ending = match scene.hello().await {
        Err(Wrong::Ended(ending)) => ending,
        Ok(_) => return Err("it said hello".to_owned().into()),
        Err(other) => return Err(other),
    };
    says(scene, text)?;
    Ok(ending)
}

async fn crash_in_load(scene: &mut Scene) -> Result {
    scene.start("suite-crash-load", &[])?;
    let ending = ends_unheard(scene, NO_WEIGHTS).await?;
    ended(Ending::Exit(1), ending)
}

async fn model_files(scene: &mut Scene) -> Result {
    let folder = scene.folder("model")?;
    std::fs::write(folder.join(FILE), "2.5\n").map_err(suite("write a file"))?;
    scene.start("suite-files", &["--path".into(), folder.into()])?;
    scene.serve("suite-files", quiet()).await?;
    let y = numbers::<f32>(&scene.ask(&rows(&[3.0_f32, -1.0])).await?, 0)?;
    expect("y", &vec![7.5, -2.5], &y)
}

async fn missing_model_files(scene: &mut Scene) -> Result {
    let folder = scene.folder("empty")?;
    scene.start("suite-files", &["--path".into(), folder.into()])?;
    match ends_unheard(scene, FILE).await? {
        Ending::Exit(1 | 2) => Ok(()),
        other => Err(format!("it {other}, status 1 or 2 expected").into()),
    }
}

async fn join_token(scene: &mut Scene) -> Result {
    scene.start("sum", &[])?;
    let token = scene.hello().await?.token;
    let token = String::from_utf8_lossy(&token).into_owned();
    expect("the token in the hello", &TOKEN.to_owned(), &token)
}

/// The log has a line with `text`.
fn says(scene: &Scene, text: &str) -> Result {
    if scene
        .container()?
        .log()
        .lines()
        .any(|line| line.contains(text))
    {
        return Ok(());
    }
    Err(format!("no line of its log contains '{text}'").into())
}

/// It ends with an error status, and the log says what the front end said.
async fn ends_with_error(scene: &mut Scene) -> Result {
    match scene.ending().await? {
        Ending::Exit(status) if status != 0 => says(scene, DETAIL),
        other => Err(format!("it {other}, an error status expected").into()),
    }
}

async fn refused(scene: &mut Scene, reason: RejectReason) -> Result {
    scene.start("sum", &[])?;
    scene.hello().await?;
    scene.reject(reason, DETAIL)?;
    ends_with_error(scene).await
}

async fn refused_bad_token(scene: &mut Scene) -> Result {
    refused(scene, RejectReason::BadToken).await
}

async fn refused_wrong_schema(scene: &mut Scene) -> Result {
    refused(scene, RejectReason::WrongSchema).await
}

async fn refused_bad_hello(scene: &mut Scene) -> Result {
    refused(scene, RejectReason::BadHello).await
}

async fn refused_version(scene: &mut Scene) -> Result {
    refused(scene, RejectReason::ProtocolVersion).await
}

async fn refused_removed(scene: &mut Scene) -> Result {
    scene.start("sum", &[])?;
    scene.hello().await?;
    scene.reject(RejectReason::Removed, DETAIL)?;
    ended(Ending::Exit(0), scene.ending().await?)
}

/// Twice, and the third hello is welcome.
async fn comes_again(scene: &mut Scene, reason: RejectReason) -> Result {
    scene.start("sum", &[])?;
    for _ in 0..2 {
        scene.hello().await?;
        scene.reject(reason, DETAIL)?;
        scene.until_closed().await?;
    }
    scene.serve("sum", quiet()).await?;
    sum(scene).await
}

async fn refused_overloaded(scene: &mut Scene) -> Result {
    comes_again(scene, RejectReason::Overloaded).await
}

async fn refused_too_many(scene: &mut Scene) -> Result {
    comes_again(scene, RejectReason::TooManyReplicas).await
}

/// One batch of `sum`.
async fn sum(scene: &mut Scene) -> Result {
    let sums = numbers::<f64>(&scene.ask(&[vec![list(&[1.0, 2.5])]]).await?, 0)?;
    expect("sum", &vec![3.5], &sums)
}

async fn removed_while_serving(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    sum(scene).await?;
    scene.reject(RejectReason::Removed, DETAIL)?;
    scene.until_closed().await?;
    ended(Ending::Exit(0), scene.ending().await?)
}

async fn violation_while_serving(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    sum(scene).await?;
    scene.reject(RejectReason::Violation, DETAIL)?;
    ends_with_error(scene).await
}

async fn heartbeats_while_idle(scene: &mut Scene) -> Result {
    let (beat, long) = (Duration::from_millis(20), quiet().silence);
    scene.start("sum", &[])?;
    scene.serve("sum", timing(beat, long)).await?;
    for _ in 0..3 {
        expect("batches of a heartbeat", &0, &scene.heartbeat().await?)?;
    }
    sum(scene).await?;
    sum(scene).await?;
    expect("batches of a heartbeat", &2, &scene.heartbeat().await?)
}

async fn long_predict(scene: &mut Scene) -> Result {
    let (beat, silence) = (Duration::from_millis(100), Duration::from_secs(2));
    scene.start("golden-slow", &[])?;
    scene.serve("golden-slow", timing(beat, silence)).await?;
    let ms = 3_000_u32;
    let batch = scene.send(&rows(&[ms]))?;
    let answer = loop {
        tokio::select! {
            answer = scene.answer(batch) => break answer?,
            () = tokio::time::sleep(beat) => {}
        }
        scene.say(Message::Heartbeat { batches_done: 0 })?;
    };
    expect("y", &vec![ms], &numbers::<u32>(&answer, 0)?)?;
    let answer = scene.ask(&rows(&[1_u32])).await?;
    expect(
        "y of the batch after",
        &vec![1],
        &numbers::<u32>(&answer, 0)?,
    )
}

async fn silent_front_end(scene: &mut Scene) -> Result {
    let (beat, silence) = (Duration::from_millis(100), Duration::from_secs(2));
    scene.start("sum", &[])?;
    scene.serve("sum", timing(beat, silence)).await?;
    scene.until_closed().await?;
    scene.serve("sum", quiet()).await?;
    sum(scene).await
}

async fn front_end_restarted(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    sum(scene).await?;
    for _ in 0..2 {
        scene.hang_up();
        // For a while nobody listens.
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.listen()?;
        scene.serve("sum", quiet()).await?;
        sum(scene).await?;
        sum(scene).await?;
    }
    Ok(())
}

async fn restarted_with_a_batch(scene: &mut Scene) -> Result {
    scene.begin("golden-slow").await?;
    scene.send(&rows(&[400_u32]))?;
    scene.send(&rows(&[1_u32]))?;
    scene.hang_up();
    scene.listen()?;
    scene.serve("golden-slow", quiet()).await?;
    // Its id is that of the batch that was lost.
    let answer = scene.ask(&rows(&[2_u32])).await?;
    expect(
        "y of the first batch",
        &vec![2],
        &numbers::<u32>(&answer, 0)?,
    )
}

async fn drain_and_back(scene: &mut Scene) -> Result {
    scene.begin("golden-slow").await?;
    let first = scene.send(&rows(&[100_u32]))?;
    let second = scene.send(&rows(&[1_u32]))?;
    scene.drain()?;
    scene.answer(first).await?;
    scene.answer(second).await?;
    scene.until_closed().await?;
    scene.serve("golden-slow", quiet()).await?;
    let answer = scene.ask(&rows(&[2_u32])).await?;
    expect(
        "y in the next session",
        &vec![2],
        &numbers::<u32>(&answer, 0)?,
    )
}

/// It is asked to leave and does, once it is told that everything has arrived.
async fn leaves(scene: &mut Scene) -> Result {
    scene.until_leaving().await?;
    scene.drain()?;
    scene.until_closed().await?;
    ended(Ending::Exit(0), scene.ending().await?)
}

fn terminate(scene: &Scene) -> Result {
    scene
        .container()?
        .terminate()
        .map_err(suite("send SIGTERM"))
}

async fn leave(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    sum(scene).await?;
    terminate(scene)?;
    leaves(scene).await
}

async fn leave_with_batches(scene: &mut Scene) -> Result {
    scene.begin("golden-slow").await?;
    scene.ask(&rows(&[0_u32])).await?;
    let first = scene.send(&rows(&[300_u32]))?;
    let second = scene.send(&rows(&[1_u32]))?;
    terminate(scene)?;
    scene.answer(first).await?;
    scene.answer(second).await?;
    leaves(scene).await
}

async fn leave_while_away(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    sum(scene).await?;
    scene.hang_up();
    terminate(scene)?;
    ended(Ending::Exit(0), scene.ending().await?)
}

async fn killed(scene: &mut Scene) -> Result {
    scene.begin("golden-slow").await?;
    scene.send(&rows(&[60_000_u32]))?;
    scene.container()?.kill();
    scene.until_closed().await?;
    ended(Ending::Signal(9), scene.ending().await?)
}

async fn no_shared_memory(scene: &mut Scene) -> Result {
    scene.start("sum", &[])?;
    let hello = scene.hello().await?;
    let path = scene.welcome_to_nowhere(&hello).await?;
    let Message::Path {
        shared: false,
        detail,
    } = path
    else {
        return Err("it says that batches travel through shared memory"
            .to_owned()
            .into());
    };
    if detail.is_empty() {
        return Err("its path does not say why there is no shared memory"
            .to_owned()
            .into());
    }
    sum(scene).await
}
