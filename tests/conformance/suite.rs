//! The list of what is tried, made into tests for one harness.

macro_rules! conformance {
    ($harness:ty) => {
        conformance!($harness, [allow(unused)]);
    };
    // The attribute goes to every test.
    ($harness:ty, $attribute:tt) => {
        conformance!($harness, $attribute: links {
            an_address_has_one_listener,
            foreign_addresses_are_refused,
            nobody_listens,
            a_link_reads_the_status_block_and_writes_its_mailbox,
            a_link_gives_no_more_rights_than_that,
            observing_needs_nothing_of_the_owners_engine,
            every_slot_takes_one_link,
            a_closed_link_is_told_and_its_slot_serves_again,
            a_dropped_link_is_told,
            a_dialler_that_gives_up_cannot_be_accepted,
            an_endpoint_that_goes_ends_its_links,
            random_bytes_and_a_clock,
        });
        conformance!($harness, $attribute: transfer {
            bytes_arrive_where_they_should_and_nowhere_else,
            inline_bytes_are_taken_at_once,
            nothing_moves_nothing,
            a_read_behind_a_write_sees_it,
            writes_of_one_port_land_in_order,
            atomics_add_and_swap,
            both_directions_at_once,
        });
        conformance!($harness, $attribute: deferred {
            every_operation_moves_its_bytes_at_once_and_deferred,
            loans_of_every_length_arrive_where_they_should,
            loans_come_back_when_their_port_ends,
            loans_of_another_domain_are_refused,
        });
        conformance!($harness, $attribute: access {
            past_the_announced_end_is_refused_at_once,
            a_wrong_key_opens_nothing,
            a_descriptor_cannot_announce_more_than_there_is,
            a_missing_right_is_missed,
            another_links_key_opens_nothing,
            nonsense_descriptors_open_nothing,
            after_deregistration_nothing_is_reached,
            misaligned_atomics_are_refused_by_the_other_side,
            atomics_take_eight_bytes,
            a_buffer_of_another_domain_is_refused,
            a_port_address_of_nonsense_is_an_error,
            options_have_ranges,
        });
        conformance!($harness, $attribute: messages {
            messages_of_every_length_arrive_in_order,
            immediate_data_comes_after_its_bytes,
            a_message_waits_for_its_receive_and_the_rest_behind_it,
            without_a_receive_in_time_the_port_fails,
            messages_longer_than_allowed_are_refused,
            messages_longer_than_the_other_side_takes_are_refused_there,
            a_message_longer_than_its_receive_fails_both,
            more_messages_than_slots_go_round,
            an_unsignalled_message_that_arrived_ends_nothing,
        });
        conformance!($harness, $attribute: queues {
            a_full_queue_gives_the_buffer_back,
            a_full_receive_queue_gives_the_buffer_back,
            unsignalled_work_completes_with_the_next_signalled,
            a_queue_full_of_unsignalled_work_is_not_stuck,
            a_failure_completes_what_was_unsignalled_before_it,
            polling_into_little_room_loses_nothing,
            many_ports_keep_apart,
            held_requests_go_out_together,
            polling_and_dropping_send_off_what_is_held,
        });
        conformance!($harness, $attribute: ends {
            closing_flushes_everything_once,
            a_dropped_partner_fails_what_follows,
            after_an_error_nothing_is_taken,
            an_error_on_one_side_reaches_the_other,
            revoking_ends_ports_and_memory_wherever_they_are_held,
            revoking_says_that_everything_was_let_go_of,
            buffers_outlive_their_port_and_domain,
        });
        conformance!($harness, $attribute: random { every_request_completes_once_whatever_happens });
    };
    ($harness:ty, $attribute:tt: $module:ident { $($name:ident),* $(,)? }) => {
        mod $module {
            use super::*;
            $(
                #[test]
                #$attribute
                fn $name() -> crate::rig::Outcome {
                    crate::$module::$name::<$harness>()
                }
            )*
        }
    };
}
