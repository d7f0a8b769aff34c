/** What `btrfs` prints, parsed. */

export interface Subvolume {
  id: number;
  parent: number;
}

/** Parses `btrfs subvolume list -p`; paths are left out, since what they hold is up to the containers. */
export function parseSubvolumes(text: string): Subvolume[] {
  return text.split('\n').flatMap((line) => {
    const match = /^ID (\d+) gen \d+ parent (\d+) top level \d+ path /.exec(line);
    return match ? [{ id: Number(match[1]), parent: Number(match[2]) }] : [];
  });
}

/** The ids of everything below subvolume `id`, the innermost first: the order of deletion. */
export function listNested(subvolumes: readonly Subvolume[], id: number): number[] {
  return subvolumes
    .filter((subvolume) => subvolume.parent === id && subvolume.id !== id)
    .flatMap((subvolume) => [...listNested(subvolumes, subvolume.id), subvolume.id]);
}

/** Parses the `Referenced` column of `btrfs qgroup show -f --raw` for subvolume `id`; null without such a line. */
export function parseReferencedBytes(text: string, id: number): number | null {
  const match = new RegExp(`^0/${id}\\s+(\\d+)\\s`, 'm').exec(text);
  return match ? Number(match[1]) : null;
}
