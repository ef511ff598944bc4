//! What operators have set for tenants, beside a document that comes later.
//!
//! In: a document, and what is set. Out: a sentence for each mistake that the two make together. A core: the node that
//! accepts a document asks it before it proposes, and each node says it when it serves both, because what is set and
//! what is applied at once cross.

use meridian_config::document::{Document, tenant_limits};

use super::Settings;

/// What of the limits that are set, and not over, does not fit beside this document: ids that its routes have too, and
/// requests that would cost more than the limits admit. Of tenants that it names: what is set for others waits.
pub fn clashes(document: &Document, settings: Settings<'_>) -> Vec<String> {
    let mut clashes = Vec::new();
    for (tenant, set) in settings.overrides.all() {
        if set.is_over(settings.unix_ms) || !document.tenants.contains_key(tenant) {
            continue;
        }
        // Those that this release does not read are left out where they are served.
        let Ok(limits) = tenant_limits(&set.limits) else {
            continue;
        };
        let mistakes = document.beside(tenant, &limits).into_iter();
        clashes.extend(mistakes.map(|mistake| {
            format!(
                "tenants.{tenant}: {} has set limits for it that do not fit beside this document: {mistake}; or give it its plan's first, with `meridian quota clear {tenant}`",
                set.by
            )
        }));
    }
    clashes
}

#[cfg(test)]
mod tests {
    use meridian_cluster::directory::{Overrides, SetQuota};
    use meridian_config::diagnose::Source;

    use super::*;

    fn told(routes: &str, unix_ms: u64) -> Vec<String> {
        let text = format!(
            "meridian: 1\nregions: {{ eu: {{}} }}\nissuers: {{ i: {{ issuer: https://i/, audiences: [a] }} }}\nplans: {{ p: {{ limits: [500/minute] }} }}\ntenants: {{ acme: {{ plan: p }} }}\nroutes: {{ r: {{ match: {{ path: / }}, respond: {{ status: 204 }}, {routes} }} }}\n"
        );
        let source = Source {
            name: "gateway.yaml".into(),
            text,
        };
        let document = Document::parse(&[source]).unwrap().document;
        let overrides = Overrides::of_tenant(SetQuota {
            tenant: "acme".into(),
            limits: vec!["{ rate: 70/minute, name: mine }".into()],
            expires_ms: Some(1000),
            reason: String::new(),
        });
        let overrides = &overrides;
        clashes(&document, Settings { overrides, unix_ms })
    }

    #[test]
    fn a_document_that_does_not_fit_beside_what_is_set_is_told_with_the_way_out() {
        assert_eq!(told("limits: [9/second]", 0), Vec::<String>::new());
        let named = "limits: [{ rate: 9/second, name: mine }]";
        assert_eq!(
            told(named, 0),
            [
                "tenants.acme: ada has set limits for it that do not fit beside this document: limits[0]: the id \"mine\" is taken by routes.r; give it another name; or give it its plan's first, with `meridian quota clear acme`"
            ]
        );
        let dear = told("cost: 71", 0);
        assert!(dear[0].contains("costs 71, so none would pass"), "{dear:?}");
        assert_eq!(told(named, 1000), Vec::<String>::new(), "it is over");
    }
}
