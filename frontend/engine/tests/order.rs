//! Rows of a batch lie in the order in which their queries came, batches are formed in the order
//! of deadlines: whoever asks gets the answer of its own row.

mod rig;

use std::time::{Duration, Instant};

use rig::{PATIENCE, Rig, input, sum};
use tokio::task::JoinSet;

#[tokio::test]
async fn each_query_gets_the_answer_of_its_own_row() {
    let mut rig = Rig::start(0);
    rig.container(true).await;
    let to = rig.resolve();
    for round in 0..20 {
        let start = Instant::now();
        let mut asked = JoinSet::new();
        for number in 0..12_u16 {
            let (engine, to) = (rig.engine.clone(), to.clone());
            let value = f32::from(100 * round + number);
            // While the first is computed the others queue, and not by their urgency.
            let deadline = start + PATIENCE - Duration::from_secs(u64::from(number % 7));
            asked.spawn(async move {
                let answer = engine.ask(&to, input(&to, value), deadline).await;
                (value, sum(&answer.expect("a right query")))
            });
        }
        for (value, answer) in asked.join_all().await {
            assert_eq!(value, answer);
        }
    }
    rig.stop();
}
