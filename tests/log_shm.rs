//! The mirrored log over shared memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "log/suite.rs"]
mod suite;

#[path = "log/cases.rs"]
mod cases;
#[path = "log/ends.rs"]
mod ends;
#[path = "log/forked.rs"]
mod forked;
#[path = "log/kept.rs"]
mod kept;
#[path = "log/mounts.rs"]
mod mounts;
#[path = "log/noted.rs"]
mod noted;
#[path = "log/pair.rs"]
mod pair;
#[path = "log/places.rs"]
mod places;
#[path = "process/mod.rs"]
mod process;
#[path = "log/replaced.rs"]
mod replaced;
#[path = "log/survives.rs"]
mod survives;
#[path = "process/on_shm.rs"]
mod under_test;
#[path = "log/worthy.rs"]
mod worthy;

logs!([allow(unused)]);
logs!([allow(unused)] in places:
    a_file_in_use_or_of_others_is_refused_by_name,
    a_file_that_others_take_away_is_written_anew,
    a_file_in_memory_is_refused_by_name,
    a_file_of_two_roles_is_refused_by_name,
    a_file_of_another_log_is_refused_in_any_role,
    a_symbolic_link_is_followed_and_stays,
    a_name_that_others_take_is_waited_for,
    a_file_of_two_names_is_one_logs,
    a_file_that_is_no_ring_is_left_as_it_is,
);
logs!([allow(unused)] in mounts:
    a_file_that_is_mounted_by_itself_is_refused_by_name,
    a_full_disk_that_gets_room_is_kept_on_again,
);
logs!([allow(unused)] in replaced:
    a_restore_that_ends_in_the_middle_leaves_the_ring_as_it_was,
    a_restored_ring_takes_the_place_of_the_older_one,
    a_log_that_began_alone_does_not_replace_the_partners,
    a_log_that_went_alone_and_is_lost_is_not_begun_anew_unasked,
    a_ring_of_others_is_refused_by_name,
    alone_under_persistent_waits_for_its_own_disk,
    what_the_disk_has_of_another_log_acknowledges_nothing,
    a_new_ring_is_made_over_no_file_of_others,
    a_ring_that_others_take_away_is_told_of,
    nothing_is_acknowledged_alone_by_a_ring_that_others_took_away,
    a_kept_file_vouches_only_for_what_waited_for_it,
);
logs!([allow(unused)] in forked:
    a_log_begun_with_an_older_ring_does_not_replace_the_partners,
    what_the_partner_has_whole_is_not_given_up_with_a_damaged_ring,
    a_takeover_is_told_to_whoever_went_alone_under_its_term,
    a_ring_of_an_earlier_opening_is_told_by_the_state_file,
    an_older_copy_of_the_partners_is_told_by_the_state_file,
    a_ring_that_was_given_up_for_another_counts_less,
    what_was_given_up_alone_stays_with_the_partner,
);
logs!([allow(unused)] in noted:
    a_state_file_that_others_take_away_is_written_again,
    a_term_file_that_others_take_away_is_written_again_before_more_is_acknowledged,
    a_takeover_that_others_take_away_is_noted_again,
    a_term_whose_sync_failed_is_no_term_that_was_gone_alone_under,
    a_takeover_whose_sync_failed_is_none,
    a_small_file_that_is_damaged_is_given_up_by_a_person,
    a_damaged_note_of_a_takeover_is_moved_away,
    a_node_that_could_not_begin_alone_begins_with_its_partner,
    nothing_is_acknowledged_beside_a_file_that_vouches_for_it,
    a_ring_whose_folder_could_not_be_synced_is_opened_a_little_later,
    a_state_file_that_is_new_does_not_vouch_for_an_old_ring,
);
logs!([allow(unused)] in survives:
    what_survives_what_is_as_the_table_says,
    what_survives_what_between_two_machines_is_as_the_table_says,
);

/// What a case runs in a process of its own.
#[test]
fn role() {
    if let Some(role) = process::role::asked() {
        assert!(mounts::run(&role), "no such role: {role}");
        process::role::say("done");
    }
}
