//! A run: every instance restarted in turn, then the faults of the plan, all of it under load, and
//! at the end the comparison.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_test_support::{KafkaCluster, Proxy};

use crate::field::{self, Application, BROKERS, Field, INSTANCES};
use crate::fleet::{self, Instance};
use crate::load::{Load, Rates};
use crate::plan::{Fault, Plan};
use crate::progress::Progress;
use crate::report::{Done, Report, Restart};
use crate::verdict;

/// Records a second: a steady load that two cores carry beside three brokers and six instances.
const RATES: Rates = Rates { orders: 300, views: 100 };
/// Undisturbed time before the first fault and after the last one.
const CALM: Duration = Duration::from_secs(5);
/// Time between two restarts.
const BETWEEN: Duration = Duration::from_secs(3);

/// Runs the script of a seed; fails on any difference.
pub fn run(seed: u64, length: Duration, keeps_logs: bool) -> ExitCode {
    let plan = Plan::draw(seed, length, INSTANCES * Application::ALL.len(), BROKERS);
    println!(
        "chaos: seed {seed}, {} s (--seed {seed} runs the same script again)",
        length.as_secs()
    );
    let mut field = Field::open();
    println!(
        "3 brokers and {} instances run; logs in {}",
        field.instances.len(),
        field.folder().display()
    );
    let watched = Application::ALL.map(|application| field.progress(application));
    let load = Load::new(&field.cluster.bootstrap(), field.input_topics(), RATES, seed);
    let (is_over, is_sent) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut report = Report::new(seed, length);

    let inputs = thread::scope(|scope| {
        // Should something panic below, the threads end all the same.
        let _ends = (SetAtEnd(&is_over), SetAtEnd(&is_sent));
        for progress in &watched {
            let is_over = &is_over;
            scope.spawn(|| progress.watch(|| is_over.load(Ordering::Relaxed)));
        }
        let load = scope.spawn(|| load.run(|| is_sent.load(Ordering::Relaxed)));
        thread::sleep(CALM);
        report.restarts = restart_in_turn(&mut field.instances, |at| &watched[at / INSTANCES]);
        let from = Instant::now();
        let done = disturb(&plan, length, &mut field.instances, &mut field.cluster);
        thread::sleep(CALM);
        report.take_faults(done, &watched, from, Instant::now());
        is_sent.store(true, Ordering::Relaxed);
        let inputs = load.join().expect("the load");
        println!(
            "the load has ended: {} orders, {} views and clicks",
            inputs.orders.len(),
            inputs.views.len()
        );
        field.wait_done(&inputs);
        is_over.store(true, Ordering::Relaxed);
        inputs
    });
    fleet::stop_all(&mut field.instances);
    report.ended =
        field.instances.iter().flat_map(|instance| instance.ended_by_itself().to_vec()).collect();

    report.records_in = [
        ("orders", inputs.orders.len()),
        ("views", inputs.views.len()),
        ("clicks", inputs.clicks.len()),
    ]
    .to_vec();
    let expected = field.expected(&inputs);
    for (topic, rule) in Application::ALL.into_iter().flat_map(Application::outputs) {
        let found = field.found(&topic);
        let wanted = expected.get(&topic).map_or(&[][..], Vec::as_slice);
        let tally = verdict::compare(rule, wanted, &found);
        if tally.is_clean() && !found.is_empty() {
            report.blind.extend(verdict::blind_spots(rule, wanted, &found));
        }
        report.topics.push((topic, tally));
    }
    print!("{report}");
    if keeps_logs || !report.is_clean() {
        field.keep_folder();
        println!("logs and state are kept in {}", field.folder().display());
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sets a flag when it goes.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A rolling restart: each instance is told to stop, and started again at once. The commits of its
/// application are those that `progress` gives for its number.
pub fn restart_in_turn<'p>(
    instances: &mut [Instance],
    progress: impl Fn(usize) -> &'p Progress,
) -> Vec<Restart> {
    let mut restarts = Vec::new();
    for (at, instance) in instances.iter_mut().enumerate() {
        let from = Instant::now();
        let stopping = instance.stop();
        instance.start();
        instance.wait_ready();
        let ready = from.elapsed();
        thread::sleep(BETWEEN);
        let stall = progress(at).longest_stall(from, Instant::now());
        let restart = Restart { instance: instance.name().to_owned(), stopping, ready, stall };
        print!("{restart}");
        restarts.push(restart);
    }
    restarts
}

/// Plays all lanes of the plan at the same time. Gives what was done and when.
fn disturb(
    plan: &Plan,
    length: Duration,
    instances: &mut [Instance],
    cluster: &mut KafkaCluster,
) -> Vec<Done> {
    let started = Instant::now();
    let done = Mutex::new(Vec::new());
    let note = |fault: Fault, whom: &str, application: Option<usize>| {
        println!("{:6.1} s  {whom}: {fault:?}", started.elapsed().as_secs_f32());
        let done_at = Done { fault, at: Instant::now(), application };
        done.lock().unwrap_or_else(PoisonError::into_inner).push(done_at);
    };
    let note = &note;
    let proxies = cluster.proxies().to_vec();
    thread::scope(|scope| {
        for ((number, instance), steps) in instances.iter_mut().enumerate().zip(&plan.instances) {
            scope.spawn(move || {
                for step in steps {
                    wait_until(started + step.at, || instance.look_after());
                    note(step.fault, instance.name(), Some(number / INSTANCES));
                    harm_instance(instance, step.fault);
                }
                wait_until(started + length, || instance.look_after());
            });
        }
        scope.spawn(move || {
            let bootstrap = cluster.bootstrap();
            for step in &plan.brokers {
                wait_until(started + step.at, || {});
                // As an operator does: the next one goes when the others have all there is.
                field::wait_in_sync(&bootstrap);
                note(step.fault, "brokers", None);
                harm_broker(cluster, step.fault);
            }
            field::wait_in_sync(&bootstrap);
        });
        scope.spawn(move || {
            for step in &plan.connections {
                wait_until(started + step.at, || {});
                note(step.fault, "connections", None);
                harm_connections(&proxies, step.fault);
            }
        });
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn wait_until(moment: Instant, mut meanwhile: impl FnMut()) {
    while Instant::now() < moment {
        meanwhile();
        thread::sleep(Duration::from_millis(50));
    }
}

fn harm_instance(instance: &mut Instance, fault: Fault) {
    match fault {
        Fault::Kill { away, wipes } => {
            instance.kill();
            if wipes {
                instance.wipe();
            }
            thread::sleep(away);
            instance.start();
        }
        Fault::Freeze { away } => {
            instance.freeze();
            thread::sleep(away);
            instance.thaw();
        }
        Fault::Replace { away } => {
            instance.freeze();
            thread::sleep(away);
            instance.replace();
        }
        _ => unreachable!("{fault:?} is not of an instance"),
    }
}

fn harm_broker(cluster: &mut KafkaCluster, fault: Fault) {
    match fault {
        Fault::StopBroker { broker, away } => {
            cluster.stop(broker);
            thread::sleep(away);
            cluster.restart(broker);
        }
        Fault::KillBroker { broker, away } => {
            cluster.kill(broker);
            thread::sleep(away);
            cluster.restart(broker);
        }
        _ => unreachable!("{fault:?} is not of a broker"),
    }
}

fn harm_connections(proxies: &[Arc<Proxy>], fault: Fault) {
    let (proxy, away) = match fault {
        Fault::Cut { broker, away } => {
            proxies[broker].cut();
            (&proxies[broker], away)
        }
        Fault::Silence { broker, away } => {
            proxies[broker].silence();
            (&proxies[broker], away)
        }
        Fault::Slow { broker, delay, away } => {
            proxies[broker].slow(delay);
            (&proxies[broker], away)
        }
        _ => unreachable!("{fault:?} is not of connections"),
    };
    thread::sleep(away);
    proxy.clear();
}
