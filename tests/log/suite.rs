//! The list of cases, made into tests of one fabric.

macro_rules! logs {
    // The attribute goes to every test.
    ($attribute:tt) => {
        logs!($attribute:
            records_are_with_the_partner_when_they_are_acknowledged,
            both_directions_at_once,
            many_laps_through_a_small_ring,
            a_full_ring_is_told_and_waited_for,
            holes_are_skipped_and_forgotten_reservations_named,
            a_partner_that_comes_back_is_refilled_and_nothing_is_acknowledged_meanwhile,
            a_restarted_node_goes_on_with_what_the_partner_has,
            going_alone_is_said_and_makes_older_copies_unworthy,
            a_log_that_was_taken_over_is_told_so_and_ends,
            a_new_log_replaces_the_old_one_and_never_mixes_with_it,
            a_ring_of_another_size_is_refused_by_name,
            a_ring_in_a_file_outlives_its_process,
            producers_in_threads_are_sent_by_a_poller_in_one,
            what_a_consumer_has_applied_bounds_what_is_freed,
            a_copy_is_never_called_whole_before_it_has_everything,
            nothing_is_acknowledged_alone_beside_a_whole_copy,
            a_copy_of_another_writer_is_emptied_before_it_is_filled,
        );
        logs!($attribute in kept:
            a_partner_that_keeps_no_file_is_told_of,
            a_copys_header_knows_what_was_acknowledged,
            a_ring_that_lost_its_end_does_not_begin_alone,
            a_ring_from_before_a_power_cut_does_not_begin_alone,
            persistent_records_outlive_both_processes,
            a_new_log_that_is_not_whole_yet_does_not_cost_the_old_one,
            what_cannot_be_gone_on_with_is_told_and_kept,
        );
        logs!($attribute in ends:
            a_thread_that_its_own_callback_drops_ends_the_log,
            a_thread_that_sleeps_for_ever_ends_when_it_is_dropped,
            a_wait_ends_with_the_poller,
            a_callback_that_panics_ends_the_log,
            a_wait_ends_with_the_manager,
            a_log_that_may_go_on_alone_does_so_without_its_manager,
            a_term_that_cannot_be_kept_for_a_while_is_tried_again,
            a_log_that_ends_for_it_could_not_go_alone_says_why,
        );
    };
    ($attribute:tt: $($name:ident),* $(,)?) => {
        logs!($attribute in cases: $($name),*);
    };
    ($attribute:tt in $module:ident: $($name:ident),* $(,)?) => {
        $(
            #[test]
            #$attribute
            fn $name() {
                crate::$module::$name();
            }
        )*
    };
}
