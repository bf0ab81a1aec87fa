//! Where memory comes from: small blocks from mimalloc, since a request is thirty of them, large ones from the system. `unsafe`, for an
//! allocator is an unsafe trait.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::copy_nonoverlapping;

/// From this size on a block is the system's, in bytes: zeroes that nobody has touched take no memory there, such as those of QUIC's
/// receive buffers (2 MiB for each endpoint), and what is given back is the system's again at once.
pub const LARGE: usize = 256 * 1024;

/// Of a whole process. A block's size says whose it is, so that nothing has to be remembered.
pub struct Memory;

fn is_large(size: usize) -> bool {
    size >= LARGE
}

// SAFETY: each block goes back to the allocator that it came from, for both go by the size in its layout, which is the same at both
// times; what each of the two promises is what is promised here.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Memory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about the layout is passed on, here and below.
        unsafe { if is_large(layout.size()) { System.alloc(layout) } else { MiMalloc.alloc(layout) } }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { if is_large(layout.size()) { System.alloc_zeroed(layout) } else { MiMalloc.alloc_zeroed(layout) } }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with this layout, so from the one of the two that its size says.
        unsafe { if is_large(layout.size()) { System.dealloc(block, layout) } else { MiMalloc.dealloc(block, layout) } }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; where the block has to change hands, the new one is as large as said, the old one is given back only
        // when there is a new one, and its alignment makes a layout with `size` by the caller's promise.
        unsafe {
            match (is_large(layout.size()), is_large(size)) {
                (false, false) => MiMalloc.realloc(block, layout, size),
                (true, true) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, Memory};
    use proptest::prelude::*;
    use std::thread;

    #[global_allocator]
    static MEMORY: Memory = Memory;

    /// Around the border, and anywhere.
    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![1..64_usize, LARGE - 2..LARGE + 3, 1..3 * LARGE]
    }

    fn byte(index: usize) -> u8 {
        (index % 251) as u8
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A vector whose block changes hands, both ways, has what it had.
        #[test]
        fn what_a_block_held_is_there_in_the_next(sizes in prop::collection::vec(size(), 1..12)) {
            let mut held: Vec<u8> = Vec::new();
            for size in sizes {
                let kept = held.len().min(size);
                held.truncate(size);
                held.shrink_to(size);
                held.reserve_exact(size - kept);
                held.extend((kept..size).map(byte));
                prop_assert!(held.iter().enumerate().all(|(index, found)| *found == byte(index)));
            }
        }

        /// Also where another one's bytes were a moment ago.
        #[test]
        fn what_is_asked_for_zeroed_is_zero(sizes in prop::collection::vec(size(), 1..12)) {
            for size in sizes {
                drop(vec![0xa5_u8; size]);
                prop_assert!(vec![0_u8; size].iter().all(|found| *found == 0));
            }
        }
    }

    #[test]
    fn blocks_are_aligned_as_asked_for_on_both_sides() {
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        for count in [1, LARGE / 4096 - 1, LARGE / 4096, LARGE / 4096 + 1] {
            let mut pages: Vec<Page> = Vec::with_capacity(count);
            for _ in 0..=count {
                pages.push(Page([7; 4096])); // and once more than there was room for
                assert_eq!(pages.as_ptr() as usize % 4096, 0);
            }
            assert!(pages.iter().all(|page| page.0 == [7; 4096]));
        }
    }

    #[test]
    fn another_thread_may_give_back_what_one_has_taken() {
        for size in [100, LARGE, 100_000] {
            let blocks: Vec<Vec<u8>> = (0..200).map(|index| vec![byte(index); size]).collect();
            let given = thread::spawn(move || {
                assert!(
                    blocks.iter().enumerate().all(|(index, block)| block.iter().all(|found| *found == byte(index)))
                );
                drop(blocks);
                vec![1_u8; size]
            });
            assert_eq!(given.join().unwrap(), vec![1_u8; size]);
        }
    }
}
