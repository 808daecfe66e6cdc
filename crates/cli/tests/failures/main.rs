//! Failures are told as such, on both clouds alike: the whole program and both clouds, in one process, in virtual time.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod access;
mod adoption;
mod apart;
mod aws_data;
mod balancers;
mod clouds;
mod detached;
mod disturbed;
mod drift;
mod ecs;
mod events;
mod google;
mod held;
mod images;
#[path = "../in_process/mod.rs"]
mod in_process;
mod jobs;
mod ledger;
mod lost;
mod migrated;
mod others;
mod outages;
mod owners;
mod permissions;
#[path = "../sweep/picture.rs"]
mod picture;
mod releases;
mod renamed;
mod reports;
mod rollouts;
mod secrets;
mod stores;
mod undo;
mod undone;
mod verification;
mod web;
mod world;

use std::collections::VecDeque;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};
use futures::future::LocalBoxFuture;
use in_process::environment;
use in_process::stage::{Ended, Stage, Wanted};
use in_process::time::VirtualTime;

/// Names the test in a process that runs one.
const ONLY: &str = "DEPLOYER_FAILURES_ONLY";
const APPLY: &[&str] = &["apply", "--yes", "--no-verify"];
const DESTROY: &[&str] = &["destroy", "--yes", "--allow-data-loss", "all"];
const SECOND: Wanted = Wanted {
    version: 2,
    ..Wanted::FIRST
};

type Test = (
    &'static str,
    for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, ()>,
);

const TESTS: &[Test] = &[
    (
        "a_version_that_is_never_healthy_is_refused_and_the_one_before_serves",
        |it| Box::pin(rollouts::never_healthy(it)),
    ),
    (
        "a_version_that_crashes_is_reported_in_one_form_on_both_clouds",
        |it| Box::pin(reports::crashes(it)),
    ),
    ("undo_leaves_what_the_cloud_put_back_itself", |it| {
        Box::pin(undo::by_the_cloud(it))
    }),
    (
        "undo_puts_back_a_service_that_was_rolled_out_well_before_another_one_failed",
        |it| Box::pin(undo::rolled_out(it)),
    ),
    ("undo_of_a_first_apply_leaves_nothing", |it| {
        Box::pin(undo::first_apply(it))
    }),
    (
        "undo_of_a_first_apply_leaves_what_holds_data_and_what_that_needs",
        |it| Box::pin(undo::first_apply_with_data(it)),
    ),
    (
        "an_undo_that_fails_needs_attention_whatever_the_other_cloud_comes_to",
        |it| Box::pin(undo::needs_attention(it)),
    ),
    (
        "an_undo_that_fails_needs_attention_in_json_and_in_the_journal",
        |it| Box::pin(undo::needs_attention_in_json(it)),
    ),
    (
        "a_first_version_that_never_serves_is_a_failure_and_nothing_serves",
        |it| Box::pin(rollouts::first_never_serves(it)),
    ),
    (
        "tasks_that_die_one_after_another_are_a_failure_although_no_breaker_trips",
        |it| Box::pin(rollouts::tasks_die(it)),
    ),
    (
        "tasks_that_die_after_a_completed_deployment_are_no_success",
        |it| Box::pin(rollouts::tasks_die_later(it)),
    ),
    (
        "instances_that_cloud_run_replaces_are_its_own_affair",
        |it| Box::pin(rollouts::instances_die_later(it)),
    ),
    ("a_roll_out_that_goes_well_is_in_progress", |it| {
        Box::pin(rollouts::in_progress(it))
    }),
    (
        "a_migration_that_exits_with_3_stops_there_and_is_not_run_again_unasked",
        |it| Box::pin(jobs::exits(it)),
    ),
    ("a_migration_that_takes_too_long_is_a_failure", |it| {
        Box::pin(jobs::too_long(it))
    }),
    (
        "a_migration_that_its_cloud_does_not_know_for_a_while_is_waited_for",
        |it| Box::pin(jobs::unknown_for_a_while(it)),
    ),
    (
        "a_migration_that_its_cloud_has_forgotten_is_a_persons_to_judge",
        |it| Box::pin(jobs::gone(it)),
    ),
    (
        "a_migration_that_never_started_is_run_by_the_next_apply",
        |it| Box::pin(jobs::never_started(it)),
    ),
    (
        "a_migration_that_never_started_is_run_once_however_often_the_next_applies_are_killed",
        |it| Box::pin(jobs::never_started_then_killed(it)),
    ),
    (
        "a_migration_whose_secret_cannot_be_read_is_told_in_the_clouds_words",
        |it| Box::pin(jobs::unreadable_secret(it)),
    ),
    (
        "a_migration_that_a_cloud_refuses_to_start_is_run_by_the_next_apply",
        |it| Box::pin(jobs::refused(it)),
    ),
    (
        "an_image_for_arm64_runs_on_ecs_and_is_refused_by_cloud_run_before_anything_is_made",
        |it| Box::pin(images::other_architecture(it)),
    ),
    (
        "an_image_that_cannot_start_is_refused_before_anything_is_made",
        |it| Box::pin(images::that_cannot_start(it)),
    ),
    (
        "an_image_in_a_private_registry_is_opened_by_the_login_that_docker_keeps",
        |it| Box::pin(images::private_registry(it)),
    ),
    ("an_image_that_is_absent_is_refused_by_name", |it| {
        Box::pin(images::absent_layout(it))
    }),
    (
        "a_cloud_that_does_not_answer_leaves_the_other_one_alone",
        |it| Box::pin(outages::before_the_start(it)),
    ),
    (
        "a_call_that_is_denied_is_told_with_its_own_exit_code",
        |it| Box::pin(denied(it)),
    ),
    (
        "a_migration_that_runs_out_of_memory_is_told_as_that",
        |it| Box::pin(jobs::out_of_memory(it)),
    ),
    ("what_another_hand_changed_is_shown_apart", |it| {
        Box::pin(drift::log_retention(it))
    }),
    ("what_deployer_itself_changed_is_nobody_elses", |it| {
        Box::pin(others::no_drift(it))
    }),
    (
        "a_deployment_by_another_hand_meanwhile_is_told_as_that",
        |it| Box::pin(others::deployed_over(it)),
    ),
    (
        "traffic_that_another_hand_pins_meanwhile_is_told_as_that",
        |it| Box::pin(others::traffic_pinned(it)),
    ),
    (
        "a_secret_that_another_hand_disabled_is_told_by_name",
        |it| Box::pin(others::secret_disabled(it)),
    ),
    ("a_key_that_another_hand_disabled_is_not_replaced", |it| {
        Box::pin(others::key_disabled(it))
    }),
    ("a_damaged_ledger_is_told_before_anything_is_done", |it| {
        Box::pin(ledger::damaged(it))
    }),
    ("what_another_hand_took_over_is_not_destroyed", |it| {
        Box::pin(others::taken_over(it))
    }),
    (
        "a_release_from_before_a_destroy_is_refused_before_anything_is_done",
        |it| Box::pin(gone_revision(it)),
    ),
    ("a_rollback_that_names_no_release_goes_one_back", |it| {
        Box::pin(one_back(it))
    }),
    ("an_api_that_asks_for_time_gets_it", |it| {
        Box::pin(asks_for_time(it))
    }),
    (
        "many_services_are_asked_for_no_faster_than_the_apis_allow",
        |it| Box::pin(many_services(it)),
    ),
    (
        "a_tag_that_is_absent_is_refused_by_name_before_anything_is_made",
        |it| Box::pin(images::absent_tag(it)),
    ),
    (
        "a_cloud_that_goes_down_after_a_write_leaves_the_other_one_alone",
        |it| Box::pin(outages::after_a_write(it)),
    ),
    (
        "a_roll_out_goes_on_when_its_cloud_does_not_answer_any_more",
        |it| Box::pin(outages::while_it_rolls_out(it)),
    ),
    (
        "a_check_that_fails_is_told_by_name_on_its_own_cloud",
        |it| Box::pin(verification::checks_fail(it)),
    ),
    (
        "variables_that_another_hand_changed_are_shown_apart",
        |it| Box::pin(drift::variables(it)),
    ),
    ("a_count_that_scales_is_nobodys_drift", |it| {
        Box::pin(drift::scaled(it))
    }),
    ("what_the_clouds_add_themselves_is_no_drift", |it| {
        Box::pin(drift::noise(it))
    }),
    (
        "databases_on_google_are_planned_and_made_in_an_empty_project",
        |it| Box::pin(stores::empty_project(it)),
    ),
    (
        "users_of_a_database_that_may_not_be_seen_are_not_taken_for_absent",
        |it| Box::pin(stores::users_denied(it)),
    ),
    (
        "a_disk_that_grew_by_itself_is_no_difference_and_none_shrinks",
        |it| Box::pin(stores::grown_disk(it)),
    ),
    (
        "a_database_on_google_is_replaced_under_its_own_name",
        |it| Box::pin(stores::replaced(it)),
    ),
    ("a_database_on_google_hands_out_its_authorities", |it| {
        Box::pin(stores::verified(it))
    }),
    ("a_database_on_google_is_adopted_as_it_is", |it| {
        Box::pin(stores::adopted(it))
    }),
    ("a_zone_of_another_project_takes_the_record", |it| {
        Box::pin(stores::shared_zone(it))
    }),
    (
        "a_roll_out_that_was_not_waited_for_is_told_by_status",
        |it| Box::pin(detached::goes_well(it)),
    ),
    (
        "a_roll_out_that_was_not_waited_for_and_failed_is_no_success",
        |it| Box::pin(detached::fails_later(it)),
    ),
    ("the_app_finds_its_port_on_both_clouds", |it| {
        Box::pin(ecs::port(it))
    }),
    ("a_count_of_none_is_nobodys_success", |it| {
        Box::pin(ecs::count_of_none(it))
    }),
    ("no_task_at_all_is_refused_for_ecs_while_planning", |it| {
        Box::pin(ecs::least_of_none(it))
    }),
    ("a_range_of_tasks_scales_and_is_compared", |it| {
        Box::pin(ecs::scales(it))
    }),
    ("what_another_team_registered_for_scaling_is_theirs", |it| {
        Box::pin(ecs::scaled_by_others(it))
    }),
    (
        "what_no_manifest_has_a_word_for_is_carried_over_and_shown",
        |it| Box::pin(ecs::kept(it)),
    ),
    ("going_back_to_what_serves_registers_nothing", |it| {
        Box::pin(ecs::revert(it))
    }),
    (
        "a_migration_runs_one_program_on_both_clouds_whatever_the_service_runs",
        |it| Box::pin(ecs::programs(it)),
    ),
    ("a_program_without_a_name_is_refused_while_planning", |it| {
        Box::pin(ecs::no_program(it))
    }),
    (
        "tasks_are_replaced_for_a_setting_that_ecs_does_not_deploy",
        |it| Box::pin(ecs::exec(it)),
    ),
    (
        "a_service_that_codedeploy_deploys_is_refused_while_planning",
        |it| Box::pin(ecs::other_controllers(it)),
    ),
    ("what_ecs_refuses_for_a_moment_is_asked_again", |it| {
        Box::pin(ecs::passing(it))
    }),
    (
        "what_logs_scaling_registry_and_secrets_refuse_for_a_moment_is_asked_again",
        |it| Box::pin(ecs::passing_elsewhere(it)),
    ),
    ("what_ecs_goes_on_to_refuse_says_how_it_is_mended", |it| {
        Box::pin(ecs::does_not_pass(it))
    }),
    ("whose_a_service_is_comes_before_what_it_is", |it| {
        Box::pin(ecs::of_another_controller_and_owner(it))
    }),
    (
        "a_load_balancer_comes_before_its_grace_period_and_goes_after_it",
        |it| Box::pin(balancers::come_and_go(it)),
    ),
    ("the_last_load_balancer_goes_with_its_grace_period", |it| {
        Box::pin(balancers::the_last(it))
    }),
    (
        "a_target_group_of_ours_is_known_after_a_run_that_was_cut_off",
        |it| Box::pin(balancers::killed(it)),
    ),
    ("an_undo_puts_load_balancers_back", |it| {
        Box::pin(balancers::undone(it))
    }),
    ("a_grace_period_alone_is_refused_while_planning", |it| {
        Box::pin(balancers::grace_alone(it))
    }),
    (
        "a_service_that_is_adopted_by_a_bare_manifest_gets_our_mark_and_nothing_else",
        |it| Box::pin(adoption::of_a_bare_manifest(it)),
    ),
    (
        "lines_are_kept_longer_than_asked_for_where_a_rule_says_so",
        |it| Box::pin(drift::longer_retention(it)),
    ),
    ("groups_of_data_that_are_known_late_are_waited_for", |it| {
        Box::pin(aws_data::known_late(it))
    }),
    (
        "a_protected_database_that_is_busy_is_deleted_in_the_end",
        |it| Box::pin(aws_data::protected_and_busy(it)),
    ),
    ("a_database_is_not_moved_within_its_vpc", |it| {
        Box::pin(aws_data::in_other_subnets(it))
    }),
    ("a_service_that_is_there_already_is_changed", |it| {
        Box::pin(ecs::is_there_already(it))
    }),
    (
        "patience_that_is_over_is_no_failure_of_the_roll_out",
        |it| Box::pin(ecs::patience(it)),
    ),
    (
        "a_start_period_is_the_grace_period_of_a_target_group",
        |it| Box::pin(ecs::grace(it)),
    ),
    (
        "a_migration_that_cannot_be_stopped_is_still_running",
        |it| Box::pin(ecs::unstoppable_migration(it)),
    ),
    ("lines_that_come_late_are_printed_once", |it| {
        Box::pin(ecs::late_lines(it))
    }),
    (
        "percentages_are_left_alone_where_the_manifest_is_silent",
        |it| Box::pin(ecs::percentages(it)),
    ),
    (
        "an_access_that_was_granted_is_waited_for_however_long_it_takes_to_get_about",
        |it| Box::pin(secrets::granted_late(it)),
    ),
    (
        "an_access_is_granted_beside_those_of_others_and_taken_away_alone",
        |it| Box::pin(secrets::granted_beside_others(it)),
    ),
    (
        "who_may_not_grant_an_access_is_told_the_command_while_planning",
        |it| Box::pin(secrets::may_not_grant(it)),
    ),
    (
        "a_secret_of_another_owner_is_read_and_never_changed",
        |it| Box::pin(secrets::anothers(it)),
    ),
    (
        "a_secret_that_has_no_such_member_is_refused_by_name_while_planning",
        |it| Box::pin(secrets::no_such_member(it)),
    ),
    (
        "secrets_that_an_app_prints_are_neither_shown_nor_kept",
        |it| Box::pin(secrets::printed(it)),
    ),
    (
        "secrets_are_kept_where_a_policy_on_locations_allows_it",
        |it| Box::pin(secrets::locations(it)),
    ),
    (
        "a_version_that_secrets_manager_does_not_know_yet_is_asked_for_again",
        |it| Box::pin(secrets::unknown_version(it)),
    ),
    (
        "a_value_that_a_cloud_would_refuse_is_refused_while_planning",
        |it| Box::pin(secrets::unfit_values(it)),
    ),
    (
        "a_password_that_a_database_would_refuse_is_refused_where_it_is_set",
        |it| Box::pin(secrets::unfit_password(it)),
    ),
    (
        "what_another_environment_owns_is_left_alone_whatever_an_inventory_says",
        |it| Box::pin(owners::inventory_of_another(it)),
    ),
    (
        "what_another_app_has_marked_is_not_adopted_and_its_owner_is_named",
        |it| Box::pin(owners::adopting_what_is_marked(it)),
    ),
    (
        "what_is_forgotten_is_left_and_what_was_adopted_is_released_not_deleted",
        |it| Box::pin(owners::forgotten_adopted_released(it)),
    ),
    ("a_section_that_is_removed_releases_what_it_adopted", |it| {
        Box::pin(owners::adopted_and_removed(it))
    }),
    ("tags_and_labels_of_others_stay_and_are_no_drift", |it| {
        Box::pin(owners::others_tags(it))
    }),
    ("what_cannot_be_had_back_is_lost_only_by_name", |it| {
        Box::pin(owners::data_is_named(it))
    }),
    ("a_record_that_says_something_else_is_somebodys", |it| {
        Box::pin(owners::record_of_another(it))
    }),
    (
        "a_second_plan_with_a_database_of_any_version_is_empty",
        |it| Box::pin(aws_data::second_plan(it)),
    ),
    (
        "what_aws_upgrades_or_grows_by_itself_is_neither_replaced_nor_shown",
        |it| Box::pin(aws_data::upgraded_by_aws(it)),
    ),
    (
        "a_major_upgrade_goes_to_a_version_that_rds_lets_it_become_and_nothing_goes_back",
        |it| Box::pin(aws_data::major_upgrade(it)),
    ),
    ("disks_grow_as_rds_lets_them_and_none_shrinks", |it| {
        Box::pin(aws_data::disks(it))
    }),
    (
        "what_another_hand_put_off_until_the_window_is_never_made_by_the_way",
        |it| Box::pin(aws_data::put_off_by_others(it)),
    ),
    (
        "a_database_and_a_cache_of_others_are_taken_over_as_they_are",
        |it| Box::pin(aws_data::adopted(it)),
    ),
    (
        "a_database_is_verified_by_the_authority_that_is_handed_out",
        |it| Box::pin(aws_data::authorities(it)),
    ),
    ("what_aws_refuses_until_it_is_ready_is_tried_again", |it| {
        Box::pin(aws_data::first_use(it))
    }),
    (
        "a_quota_that_is_used_up_is_told_and_not_asked_for_ever",
        |it| Box::pin(disturbed::quota(it)),
    ),
    (
        "what_cloud_run_fills_in_leaves_the_second_plan_empty",
        |it| Box::pin(google::filled_in(it)),
    ),
    (
        "a_service_is_open_to_everyone_where_the_organization_restricts_sharing",
        |it| Box::pin(google::restricted(it)),
    ),
    ("who_may_call_a_service_is_not_reset_without_a_word", |it| {
        Box::pin(google::opened_by_hand(it))
    }),
    (
        "what_the_manifest_has_no_word_for_survives_a_deployment",
        |it| Box::pin(google::not_modelled(it)),
    ),
    ("a_tag_alone_makes_no_revision", |it| {
        Box::pin(google::tag_alone(it))
    }),
    (
        "a_revision_that_another_hand_made_meanwhile_is_not_ours",
        |it| Box::pin(google::not_ours(it)),
    ),
    (
        "going_back_to_what_serves_rolls_nothing_out_on_cloud_run",
        |it| Box::pin(google::back_to_what_serves(it)),
    ),
    (
        "a_change_that_another_one_forestalled_is_sent_again",
        |it| Box::pin(google::forestalled(it)),
    ),
    (
        "a_revision_that_was_named_by_hand_does_not_stop_a_rollback",
        |it| Box::pin(google::named_by_hand(it)),
    ),
    (
        "a_private_service_is_asked_with_an_identity_and_an_internal_one_not_at_all",
        |it| Box::pin(google::private(it)),
    ),
    ("apis_that_are_switched_off_are_told_in_one_line", |it| {
        Box::pin(google::switched_off(it))
    }),
    (
        "apis_that_are_switched_off_are_switched_on_where_the_manifest_says_so",
        |it| Box::pin(google::switched_on(it)),
    ),
    (
        "a_service_goes_on_reading_its_secrets_when_its_account_is_no_longer_named",
        |it| Box::pin(access::account_removed(it)),
    ),
    (
        "secrets_are_granted_to_the_account_that_a_service_was_given_by_hand",
        |it| Box::pin(access::account_of_its_own(it)),
    ),
    ("a_secret_of_another_project_is_pinned_as_theirs", |it| {
        Box::pin(access::of_another_project(it))
    }),
    (
        "an_access_that_cannot_be_seen_is_for_cloud_run_to_judge",
        |it| Box::pin(access::unseen(it)),
    ),
    (
        "a_service_that_was_opened_is_closed_when_it_is_released",
        |it| Box::pin(owners::opened_and_released(it)),
    ),
    ("a_service_whose_revision_was_named_is_released", |it| {
        Box::pin(google::released_by_name(it))
    }),
    ("everybody_with_an_account_is_told_of_and_stays", |it| {
        Box::pin(google::signed_in(it))
    }),
    ("what_may_not_be_read_names_the_role", |it| {
        Box::pin(google::may_not_read(it))
    }),
    ("a_project_without_billing_is_told_the_command", |it| {
        Box::pin(google::no_billing(it))
    }),
    ("another_edition_of_a_database_is_changed_alone", |it| {
        Box::pin(stores::another_edition(it))
    }),
    (
        "a_database_in_a_network_without_access_tells_the_way_out",
        |it| Box::pin(stores::not_peered(it)),
    ),
    (
        "a_database_that_may_not_be_seen_is_not_taken_for_deleted",
        |it| Box::pin(stores::unseen_while_deleted(it)),
    ),
    ("a_cache_on_another_projects_network_is_made", |it| {
        Box::pin(stores::shared_network(it))
    }),
    ("a_cache_that_is_being_deleted_is_made_anew", |it| {
        Box::pin(stores::cache_going(it))
    }),
    (
        "answers_from_before_a_change_are_not_taken_for_what_is",
        |it| Box::pin(disturbed::stale(it)),
    ),
    (
        "calls_that_go_wrong_in_every_way_end_in_the_same_place",
        |it| Box::pin(disturbed::in_every_way(it)),
    ),
    (
        "a_second_rollback_leaves_the_hold_of_the_first_in_force",
        |it| Box::pin(releases::holds_are_a_set(it)),
    ),
    (
        "a_release_is_recorded_when_it_serves_whatever_becomes_of_the_one_beside_it",
        |it| Box::pin(releases::beside_a_failure(it)),
    ),
    (
        "a_release_is_recorded_when_it_serves_although_a_delete_is_refused",
        |it| Box::pin(releases::beside_a_refused_delete(it)),
    ),
    (
        "a_rollback_after_a_killed_apply_goes_to_what_served_before_it",
        |it| Box::pin(releases::killed_before_the_record(it)),
    ),
    (
        "a_rollback_that_is_typed_again_after_a_kill_goes_back_once",
        |it| Box::pin(releases::typed_again(it)),
    ),
    (
        "a_release_that_was_rejected_is_not_where_a_rollback_goes",
        |it| Box::pin(releases::rejected(it)),
    ),
    ("another_label_is_no_other_release_to_go_back_to", |it| {
        Box::pin(releases::only_another_label(it))
    }),
    (
        "a_tag_that_meant_two_images_is_asked_about_and_what_serves_already_is_told",
        |it| Box::pin(releases::named(it)),
    ),
    ("a_word_that_means_two_contents_makes_neither_serve", |it| {
        Box::pin(releases::two_contents(it))
    }),
    ("what_mends_a_rejected_release_lifts_its_hold", |it| {
        Box::pin(releases::mended(it))
    }),
    ("a_rollback_looks_at_the_secrets_first", |it| {
        Box::pin(releases::pins_are_looked_at(it))
    }),
    ("what_an_undo_put_back_is_what_the_releases_say", |it| {
        Box::pin(releases::after_an_undo(it))
    }),
    ("a_database_that_was_replaced_is_migrated", |it| {
        Box::pin(migrated::replaced(it))
    }),
    (
        "a_database_that_left_the_manifest_and_came_back_is_migrated",
        |it| Box::pin(migrated::removed_and_back(it)),
    ),
    (
        "a_database_after_a_destroy_that_was_refused_is_migrated",
        |it| Box::pin(migrated::destroyed_in_part(it)),
    ),
    (
        "a_database_after_a_destroy_that_was_killed_is_migrated",
        |it| Box::pin(migrated::destroyed_and_killed(it)),
    ),
    (
        "a_migration_whose_start_was_not_answered_runs_once_while_lists_lag",
        |it| Box::pin(migrated::lost_start(it)),
    ),
    ("a_migration_whose_start_never_arrived_is_started", |it| {
        Box::pin(migrated::refused_start(it))
    }),
    ("a_new_password_is_no_other_database", |it| {
        Box::pin(migrated::password_changed(it))
    }),
    (
        "a_migration_is_not_run_again_because_its_record_is_lost",
        |it| Box::pin(migrated::older_records(it)),
    ),
    (
        "a_lock_that_is_taken_on_one_cloud_keeps_no_release_of_the_other_from_its_ledger",
        |it| Box::pin(apart::lock_taken(it)),
    ),
    (
        "a_damaged_ledger_of_one_cloud_leaves_the_other_one_alone",
        |it| Box::pin(apart::ledger_damaged(it)),
    ),
    ("status_says_what_it_cannot_read_and_shows_the_rest", |it| {
        Box::pin(apart::status_goes_on(it))
    }),
    ("two_first_applies_at_once_make_one_key_pair", |it| {
        Box::pin(apart::one_key_pair(it))
    }),
    (
        "without_a_ledger_a_destroy_deletes_what_is_marked_as_ours_and_nothing_else",
        |it| Box::pin(lost::destroyed(it)),
    ),
    (
        "without_a_ledger_an_apply_deletes_what_is_marked_and_not_wanted",
        |it| Box::pin(lost::applied(it)),
    ),
    (
        "what_was_found_by_its_mark_is_known_although_its_delete_was_refused",
        |it| Box::pin(lost::refused(it)),
    ),
    (
        "a_lost_ledger_and_a_list_that_is_denied_are_told_with_a_code_of_their_own",
        |it| Box::pin(lost::unlisted(it)),
    ),
    ("a_destroy_finds_what_is_marked_and_in_no_inventory", |it| {
        Box::pin(lost::beside_the_inventory(it))
    }),
    (
        "without_a_ledger_what_the_manifest_adopts_is_released",
        |it| Box::pin(lost::adopted(it)),
    ),
    (
        "a_secret_that_one_cloud_refuses_is_set_on_the_other",
        |it| Box::pin(apart::secret_refused(it)),
    ),
    (
        "an_undo_does_not_call_a_cache_that_was_made_anew_as_before",
        |it| Box::pin(undone::cache_made_anew(it)),
    ),
    (
        "an_undo_does_not_call_a_cache_that_is_gone_deleted_as_asked",
        |it| Box::pin(undone::cache_gone(it)),
    ),
    ("an_undo_tells_a_password_that_it_cannot_put_back", |it| {
        Box::pin(undone::password_stays(it))
    }),
    ("an_undo_believes_no_single_look_that_says_absent", |it| {
        Box::pin(undone::not_seen_yet(it))
    }),
    ("a_migration_alone_makes_no_database_anew", |it| {
        Box::pin(held::migrate_alone(it))
    }),
    (
        "a_rollback_whose_second_try_is_refused_is_finished_by_the_next_apply",
        |it| Box::pin(held::refused_while_finishing(it)),
    ),
    (
        "a_secret_that_what_serves_beside_a_hold_pins_is_not_deleted",
        |it| Box::pin(held::pinned_beside_a_hold(it)),
    ),
    (
        "secrets_follow_a_rollback_to_a_release_of_the_code_alone",
        |it| Box::pin(held::code_alone(it)),
    ),
    (
        "a_rollback_that_another_one_came_after_is_not_finished_any_more",
        |it| Box::pin(held::superseded(it)),
    ),
    ("a_rollback_that_is_typed_again_by_its_name_is_one", |it| {
        Box::pin(held::named_again(it))
    }),
    (
        "two_services_of_one_image_and_one_database_are_migrated_once",
        |it| Box::pin(held::one_migration(it)),
    ),
    (
        "a_secret_that_was_set_before_a_rollback_lifts_no_hold",
        |it| Box::pin(held::set_before(it)),
    ),
    ("nothing_is_held_where_nothing_serves_any_more", |it| {
        Box::pin(held::destroyed_in_part(it))
    }),
    (
        "an_undo_that_cannot_put_a_service_back_leaves_it_what_it_runs_on",
        |it| Box::pin(held::undo_refused(it)),
    ),
    (
        "a_service_that_is_renamed_touches_nothing_of_the_environment_beside",
        |it| Box::pin(renamed::service(it)),
    ),
    ("an_app_that_is_renamed_is_another_owner", |it| {
        Box::pin(renamed::app(it))
    }),
    (
        "a_manifest_needs_the_permissions_of_what_it_has_and_a_pipeline_less",
        |it| Box::pin(permissions::of_parts(it)),
    ),
    (
        "the_permissions_of_the_page_are_those_that_calls_take_on_aws",
        |it| Box::pin(permissions::on_aws(it)),
    ),
    (
        "the_permissions_of_the_page_are_those_that_calls_take_on_google",
        |it| Box::pin(permissions::on_google(it)),
    ),
    (
        "a_release_is_told_in_parts_without_account_or_project",
        |it| Box::pin(events::release_in_parts(it)),
    ),
];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let filter = filter.unwrap_or_default();
    let chosen = TESTS.iter().filter(|(name, _)| name.contains(&filter));
    let chosen: Vec<&Test> = chosen.collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    match std::env::var(ONLY) {
        Ok(only) => one(&only),
        Err(_) => all(&chosen),
    }
}

/// Runs each test in a process of its own, several at once: every one of them waits about half of its time.
fn all(chosen: &[&Test]) -> ExitCode {
    let left: Mutex<VecDeque<&str>> = Mutex::new(chosen.iter().map(|(name, _)| *name).collect());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    // The longest stand last.
                    let next = left.lock().unwrap().pop_back();
                    let Some(name) = next else { break };
                    let again = environment::Again::new();
                    let ended = again.command().env(ONLY, name).output();
                    let ended = ended.expect("this program can be started");
                    if ended.status.success() {
                        println!("test {name} ... ok");
                    } else {
                        let said = String::from_utf8_lossy(&ended.stderr);
                        println!("test {name} ... FAILED\n{said}");
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "{} passed, {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    match failed.as_slice() {
        [] => ExitCode::SUCCESS,
        names => {
            println!("failed: {}", names.join(", "));
            ExitCode::FAILURE
        }
    }
}

/// Runs one test; one that panics has said why.
fn one(only: &str) -> ExitCode {
    let test = TESTS.iter().find(|(name, _)| *name == only);
    let (_, test) = test.expect("it is a test");
    let run = std::panic::catch_unwind(|| {
        let time = VirtualTime::start();
        time.run(async {
            let stage = Stage::set(&time).await;
            test(&stage).await;
            stage.clear().await;
        });
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs a command; its words, when it ends as it should.
async fn run(stage: &Stage, words: &[&str], cloud: &str, exit: Exit) -> String {
    let (ended, said) = stage.run(words, cloud).await;
    assert!(
        matches!(&ended, Ended::Exit(ended) if *ended == exit),
        "`{}` on {cloud} ended with {ended:?}, not {exit:?}:\n{said}",
        words.join(" ")
    );
    said
}

fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "it does not say `{words}`:\n{said}");
    }
}

/// The lines of `--json`.
fn json_lines(said: &str) -> Vec<serde_json::Value> {
    let lines = said.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

async fn first_serves(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
}

/// The image that the last release has on a cloud, by what `status` says of what serves.
async fn assert_serves(stage: &Stage, cloud: &str, version: u32) {
    let (_, said) = stage.run(&["status", "--json"], cloud).await;
    let digest = stage.digest(version);
    let document: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let serving = &document[0]["serving"];
    let revision = serving["traffic"][0][0].as_str().expect("something serves");
    let image = serving["images"][revision].as_str().unwrap_or_default();
    assert!(
        image.ends_with(&digest),
        "{cloud} serves {image}, not {digest}"
    );
}

fn unhealthy(started: &Started) -> Behaviour {
    Behaviour {
        healthy: started.purpose != Purpose::Serve,
        lines: vec!["cannot read the configuration".to_owned()],
        ..Behaviour::usual(started.purpose)
    }
}

/// Asked for one by one, and at once, they are more than ECS and CloudWatch Logs answer.
async fn many_services(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 120,
        ..Wanted::FIRST
    });
    let said = run(stage, &["plan", "--json"], "all", Exit::Success).await;
    let document: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let changes = document["plan"]["changes"].as_array().expect("changes");
    assert!(changes.len() > 900, "{}", changes.len());
    assert_eq!(document["errors"], serde_json::json!([]));
    assert_eq!(stage.refused().await, serde_json::json!({}));
}

/// Google's clients wait by the machine's clock: their pauses have tests of their own.
async fn asks_for_time(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let call = "ecs:DescribeServices";
    let rule = format!(
        "[[fault]]\ncall = \"{call}\"\nwhat = \"throttled\"\nnth = 1\nretry_after = \"25s\"\n"
    );
    stage.disturb(&rule).await;
    stage.calls.arm(None);
    run(stage, &["plan"], "aws", Exit::Success).await;
    let arrivals = stage.calls.arrivals();
    let mut looks = arrivals.iter().filter(|(name, _)| name == call);
    let (first, second) = (looks.next(), looks.next());
    let waited = second
        .expect("another try")
        .1
        .duration_since(first.expect("a try").1);
    assert!((25.0..40.0).contains(&waited.as_secs_f64()), "{waited}");
}

async fn one_back(stage: &Stage) {
    first_serves(stage).await;
    let back = ["rollback", "--yes", "--no-verify"];
    let said = run(stage, &back, "all", Exit::Input).await;
    says(&said, &["has no release before r1", "deployer releases"]);
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let said = run(stage, &back, "all", Exit::Success).await;
    says(&said, &["r2", "-> r1", "is on hold"]);
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 1).await;
    }
}

async fn gone_revision(stage: &Stage) {
    first_serves(stage).await;
    run(stage, DESTROY, "all", Exit::Success).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        stage.calls.arm(None);
        let back = ["rollback", "--yes", "--no-verify", "--to", "r1"];
        let said = run(stage, &back, cloud, Exit::Failure).await;
        says(
            &said,
            &["r1 of `idp` cannot serve again", "that makes a new release"],
        );
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
        assert!(!stage.has_hold().await, "{said}");
    }
}

async fn denied(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for (cloud, call) in [
        ("aws", "ecs:RegisterTaskDefinition"),
        ("gcp", "run.projects.locations.jobs.create"),
    ] {
        stage.calls.deny(call);
        let said = run(stage, APPLY, cloud, Exit::Denied).await;
        says(&said, &["error (not allowed)"]);
        stage.calls.arm(None);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
}
