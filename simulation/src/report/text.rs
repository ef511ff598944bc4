//! What a run found, as a screen of text: the figures, then each promise in a line.

use std::fmt::{self, Write as _};

use super::{Finding, Gap, Reads, Requests};
use crate::invariant::{Judged, Verdict};

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "held" } else { "BROKE" };
        let (scenario, seed) = (&self.scenario, self.seed);
        writeln!(f, "{scenario}, seed {seed}: {verdict}")?;
        let simulated = seconds(self.simulated_ms);
        let hash = self.trace_hash.get(..16).unwrap_or(&self.trace_hash);
        let lines = self.trace_lines;
        writeln!(
            f,
            "  time      {simulated} simulated, {lines} events, trace {hash}"
        )?;
        let Requests {
            sent,
            served,
            refused,
            failed,
        } = self.requests;
        writeln!(
            f,
            "  requests  {sent}: {served} served, {refused} refused, {failed} unanswered"
        )?;
        let writes = &self.writes;
        writeln!(
            f,
            "  writes    {}: {} acknowledged (slowest {} ms), {} refused, {} unknown",
            writes.sent, writes.acknowledged, writes.slowest_ms, writes.refused, writes.unknown
        )?;
        let deeds = &self.deeds;
        writeln!(
            f,
            "  operators {} reads, {} writes made, {} lost a race, {} without a sure outcome",
            deeds.reads, deeds.made, deeds.conflicts, deeds.unsure
        )?;
        let revocations = &self.revocations;
        if revocations.sent > 0 {
            writeln!(
                f,
                "  revoked   {}: {} acknowledged, {} of them by every node (slowest {} ms); {} presentations admitted, {} refused as revoked",
                revocations.sent,
                revocations.acknowledged,
                revocations.everywhere,
                revocations.slowest_ms,
                revocations.admitted,
                revocations.refused
            )?;
        }
        let latency = &self.latency;
        writeln!(
            f,
            "  latency   half within {} ms, 99 % within {} ms, all within {} ms",
            latency.p50_ms, latency.p99_ms, latency.max_ms
        )?;
        for fault in &self.faults {
            writeln!(f, "  fault     {} {}", seconds(fault.at_ms), fault.what)?;
            if !fault.gaps.is_empty() {
                let gaps = gaps(&fault.gaps);
                writeln!(f, "            longest without success: {gaps}")?;
            }
        }
        if let Some(Reads { calm, flooded }) = &self.reads {
            for (when, spread) in [("calm", calm), ("flooded", flooded)] {
                writeln!(
                    f,
                    "  reads     {when}: {}, half within {} ms, 99 % within {} ms, all within {} ms",
                    spread.count, spread.p50_ms, spread.p99_ms, spread.max_ms
                )?;
            }
        }
        match self.converged_ms {
            Some(ms) => writeln!(f, "  calm      all nodes equal after {ms} ms")?,
            None => writeln!(f, "  calm      the nodes did not become equal")?,
        }
        writeln!(f)?;
        // Not a promise: why the run was cut short.
        let is_promise = |name| self.invariants.iter().any(|judged| judged.name == name);
        for violation in &self.violations {
            if !is_promise(violation.invariant) {
                writeln!(f, "  {:<26}{}", violation.invariant, violation.says)?;
            }
        }
        for judged in &self.invariants {
            self.promise(f, judged)?;
        }
        Ok(())
    }
}

impl Finding {
    /// One promise: in a line what was measured; where it broke also what was promised, and the breaches.
    fn promise(&self, f: &mut fmt::Formatter<'_>, judged: &Judged) -> fmt::Result {
        let name = judged.name;
        let measured = judged
            .measured
            .as_deref()
            .unwrap_or("this run did not try it");
        let verdict = match judged.verdict {
            Verdict::Broke => "BROKE",
            other => other.name(),
        };
        writeln!(f, "  {verdict:<8}{name:<18}{measured}")?;
        if judged.verdict != Verdict::Broke {
            return Ok(());
        }
        writeln!(f, "          promised:         {}", judged.promises)?;
        let told = self.violations.iter().filter(|it| it.invariant == name);
        for violation in told.take(MOST_SHOWN) {
            let at = violation.at.map(|at| format!(" at {at:?}"));
            let at = at.unwrap_or_default();
            writeln!(f, "          broke{at}: {}", violation.says)?;
        }
        if let Some(more @ 1..) = judged.breaches.checked_sub(MOST_SHOWN) {
            writeln!(f, "                            and {more} more times")?;
        }
        Ok(())
    }
}

fn seconds(ms: u128) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

fn gaps(gaps: &[Gap]) -> String {
    let mut text = String::new();
    let mut region = "";
    for gap in gaps {
        if gap.region == region {
            text.push_str(", ");
        } else {
            let separator = if region.is_empty() { "" } else { "; " };
            region = &gap.region;
            write!(text, "{separator}{region} ").expect("formatting into a String cannot fail");
        }
        write!(text, "{} {} ms", gap.kind, gap.ms).expect("formatting into a String cannot fail");
    }
    text
}

/// Breaches of one invariant on the screen; one that repeats for every request would drown the rest.
const MOST_SHOWN: usize = 8;
