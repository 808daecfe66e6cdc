//! Plans of clouds that could not be read.

use super::*;

/// Nobody may take what was not read for what is as it should be.
#[test]
fn a_target_that_was_not_read_leaves_the_plan_incomplete() {
    let changes = nodes("web", Action::NoOp);
    let groups = vec![service("web", &changes, &[])];
    let mut scene = scene(groups);
    let why = "cannot read service web: 503";
    scene.unread = BTreeMap::from([(CloudName::Gcp, why.to_owned())]);
    let plan = plan(changes);
    let markdown = super::super::markdown(&plan, &scene, &[], None);
    let layout = Layout {
        colour: false,
        width: 80,
    };
    let details = render(&plan, &scene, &[], Shown::Details, layout);
    for text in [story(&plan, &scene), markdown, details] {
        assert!(text.contains("NOT PLANNED"), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(
            text.contains("INCOMPLETE: gcp could not be planned"),
            "{text}"
        );
        assert!(!text.contains("No changes"), "{text}");
    }
}
