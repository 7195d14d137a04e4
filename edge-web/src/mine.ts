// "What you told": likes and hides of this person, kept in this browser, with export, reset and forget.
import { button, element, find, redrawn } from "./dom";
import * as keeping from "./keeping";
import { Personal } from "./personal";
import type { Entry, Recommender } from "./recommender";

const MOST_BYTES = 1_000_000;

export class Mine {
  readonly personal: Personal;
  private kept: Promise<void> = Promise.resolve();

  private constructor(
    private readonly recommender: Recommender,
    private readonly changed: () => Promise<void>,
  ) {
    this.personal = new Personal(recommender.bundle);
    find("export").addEventListener("click", () => this.download());
    find("reset").addEventListener("click", () => void this.reset());
    find("forget").addEventListener("click", () => void this.forget());
    find<HTMLInputElement>("bring").addEventListener("change", (event) => void this.bring(event));
    find("mine").hidden = false;
    this.draw();
  }

  /** With what is kept in this browser, if it is of this bundle. changed: asks for a new answer. */
  static async open(recommender: Recommender, changed: () => Promise<void>): Promise<Mine> {
    const mine = new Mine(recommender, changed);
    try {
      const record = await keeping.kept();
      if (record !== undefined) mine.personal.take(record);
    } catch (error) {
      mine.announce(`What was kept could not be used: ${message(error)}.`);
    }
    mine.draw();
    return mine;
  }

  /** liked: true, or false for hidden, or null: nothing is said of the item any more. */
  async say(id: string, title: string, liked: boolean | null, history: readonly Entry[], shown: string[]): Promise<void> {
    if (liked === null) this.personal.takeBack(id);
    else this.personal.tell(id, liked, await this.recommender.vectorOf(history), shown);
    const word = liked === null ? "Taken back" : liked ? "Liked" : "Hidden";
    await this.settled(`${word}: ${title}. The answer has changed.`);
  }

  private async reset(): Promise<void> {
    this.personal.reset();
    await this.settled("Every like is taken back; what is hidden stays hidden.");
  }

  private async forget(): Promise<void> {
    this.personal.forget();
    await this.settled("All is forgotten: nothing of you is kept here.");
  }

  private download(): void {
    const blob = new Blob([JSON.stringify(this.personal.record)], { type: "application/json" });
    const link = element("a", "") as HTMLAnchorElement;
    link.href = URL.createObjectURL(blob);
    link.download = "m6-edge-personal.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  private async bring(event: Event): Promise<void> {
    const input = event.target as HTMLInputElement;
    const file = input.files?.[0];
    if (file === undefined) return;
    try {
      if (file.size > MOST_BYTES) throw new Error("this is no personal record");
      this.personal.take(JSON.parse(await file.text()));
      const [likes, hidden] = [true, false].map((liked) => this.personal.which(liked).length);
      await this.settled(`Read from ${file.name}: ${likes} ${likes === 1 ? "like" : "likes"}, ${hidden} hidden.`);
    } catch (error) {
      this.announce(`${file.name} was not read: ${message(error)}.`);
    }
    input.value = "";
  }

  /** Draws, answers anew, keeps; then says so. One write at a time, in order. */
  private async settled(word: string): Promise<void> {
    this.draw();
    const record = this.personal.record;
    const write = () => (record.told.length > 0 ? keeping.keep(record) : keeping.forget());
    this.kept = this.kept.then(write, write);
    await this.changed();
    try {
      await this.kept;
      this.announce(word);
    } catch (error) {
      this.announce(`${word} It could not be kept in this browser: ${message(error)}.`);
    }
  }

  private announce(word: string): void {
    find("said").textContent = word;
  }

  private draw(): void {
    const { shelf } = this.recommender.bundle;
    const rows = [true, false].flatMap((liked) =>
      this.personal.which(liked).map((place) => {
        const [id, title] = [shelf.ids[place] ?? "", shelf.titles[place] ?? ""];
        const label = `Take back: ${liked ? "you liked" : "you hid"} ${title}`;
        const back = () => {
          this.personal.takeBack(id);
          void this.settled(`Taken back: ${title}. The answer has changed.`);
        };
        return element("li", "", button(`${liked ? "♥" : "hidden:"} ${title} ×`, label, back));
      }),
    );
    redrawn(find("told"), rows, find("mine-title"));
    find("untold").hidden = rows.length > 0;
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
